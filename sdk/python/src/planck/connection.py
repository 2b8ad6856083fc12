"""One connection: a session over a transport, with a thread that takes the replies.

What must stay true: requests go out in the order in which they took their ids; whoever waits for a reply
gets it, or an error, exactly once; a connection with a fault is never used again; the thread ends when
the connection does, and what it holds is bounded by the requests in flight.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .errors import (
    CertificateRefused,
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    PlanckError,
    ProtocolError,
    ServerError,
    error_of,
)
from .packets import Failure, Op, Packet, Reply, decode_reply, encode_request
from .session import Session, SessionInfo, State
from .transport import Transport
from .waiting import Cancellation, Deadline, check

T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """How connections are made, and what they may hold."""

    host: str
    port: int
    user: str
    key: str = field(repr=False)
    fingerprint: str | None
    context: ssl.SSLContext | None
    connect_timeout: float
    grace: float
    max_reply_bytes: int
    max_in_flight: int


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and what is made of its reply.

    `repeatable` says that it is safe to send it again when a connection broke before the answer came.
    `recover` makes an answer of an error, or raises it.
    """

    op: Op
    body: bytes = field(repr=False)
    repeatable: bool
    convert: Callable[[Reply, Connection], T] = field(repr=False)
    recover: Callable[[ServerError], T] | None = field(default=None, repr=False)


class Exchange:
    """A request that was sent, and its reply when it has come.

    Replies come in the order of the requests, so one cannot come before those ahead of it: `answer_by` is
    the latest of the deadlines of all of them. Only when that is over is a silent server taken for lost.
    """

    def __init__(self, connection: Connection, op: Op, deadline: Deadline) -> None:
        self.connection = connection
        self.brief = op is Op.CLOSE_CURSOR
        self.id = 0
        self.answer_by = deadline
        self._done = threading.Event()
        self._packet: Packet | None = None
        self._error: Callable[[], PlanckError] | None = None

    @property
    def done(self) -> bool:
        """Whether the reply, or an error in its place, is there."""
        return self._done.is_set()

    def resolve(self, packet: Packet) -> None:
        """The reply has come."""
        self._packet = packet
        self._done.set()

    def fail(self, error: Callable[[], PlanckError]) -> None:
        """No reply will come. Each who waits gets an exception of its own."""
        self._error = error
        self._done.set()

    def cancel(self) -> None:
        """Asks the server to give it up. The reply comes all the same, and says what became of it."""
        self.connection.cancel(self.id)

    def wait(self) -> Reply:
        """The reply of status 0; else its error is raised."""
        grace = self.connection.options.grace
        if not self._done.wait(self.answer_by.remaining(grace)):
            self.connection.close("no answer in time")
            if not self._done.is_set() or self._packet is None:
                raise DeadlineExceeded(
                    "no answer in time: the connection is taken for lost, and whether the request was done is not known"
                )
        if self._packet is None:
            assert self._error is not None
            raise self._error()
        try:
            reply = decode_reply(self._packet.code, self._packet.body)
        except ProtocolError as error:
            self.connection.close(str(error))
            raise
        if isinstance(reply, Failure):
            raise error_of(reply.status, reply.message)
        return reply


class Connection:
    """A session that is open. Any thread may send; requests are answered in the order they were sent."""

    def __init__(self, options: Options, transport: Transport, session: Session) -> None:
        assert session.info is not None
        self.options = options
        self.info: SessionInfo = session.info
        self.cursors = 0
        self._transport = transport
        self._session = session
        self._exchanges: dict[int, Exchange] = {}
        self._reserved = 0
        self._busy = 0
        self._answer_by = Deadline(None)
        self._reason: str | None = None
        self._lock = threading.Lock()
        self._slots = threading.Condition(self._lock)
        self._writing = threading.Lock()
        self._dropped: deque[int] = deque()
        self._thread = threading.Thread(target=self._read, name="planck-reader", daemon=True)

    @classmethod
    def open(cls, options: Options, deadline: Deadline) -> Connection:
        """Connects, checks the server's key, and only then says who the user is."""
        deadline = deadline.at_most(options.connect_timeout)
        transport = Transport.connect(options.host, options.port, options.context, options.fingerprint, deadline)
        session = Session(options.max_reply_bytes, options.max_in_flight)
        try:
            transport.send(session.auth(options.user, options.key), deadline)
            while session.state is State.AUTHENTICATING:
                data = transport.receive(deadline)
                if not data:
                    raise ConnectFailed(
                        "the server closed the connection before the Auth was answered: "
                        "it may be stopping, full, or not allow this address"
                    )
                for _ in session.receive(data):
                    pass
            if session.buffered:
                raise ProtocolError("the server sent more than the reply to the Auth")
        except DeadlineExceeded as error:
            transport.close()
            raise ConnectFailed("the server did not answer the Auth in time") from error
        except CertificateRefused:
            transport.close()
            raise
        except ConnectionLost as error:
            transport.close()
            raise ConnectFailed(error.reason) from error
        except BaseException:
            transport.close()
            raise
        connection = cls(options, transport, session)
        try:
            connection._thread.start()
        except RuntimeError as error:
            transport.close()
            raise ConnectFailed(f"no thread can be started for the connection: {error}") from error
        return connection

    @property
    def alive(self) -> bool:
        """Whether requests may be sent."""
        return self._reason is None and self._session.state is State.READY

    @property
    def quiet(self) -> bool:
        """Whether nothing that takes time is in flight, so that a request need not wait behind another."""
        return not self._busy

    def call(self, call: Call[T], deadline: Deadline, cancel: Cancellation | None = None) -> T:
        """Sends a request, waits for its reply, and gives what is made of it."""
        exchange = self.submit(call, deadline, cancel)
        mark = cancel.attach(exchange.cancel) if cancel is not None else 0
        try:
            return self.finish(call, exchange)
        finally:
            if cancel is not None:
                cancel.detach(mark)

    def finish(self, call: Call[T], exchange: Exchange) -> T:
        """What is made of the reply of a request that was sent."""
        try:
            reply = exchange.wait()
        except ServerError as error:
            if call.recover is None:
                raise
            return call.recover(error)
        try:
            return call.convert(reply, self)
        except ProtocolError as error:
            self.close(str(error))
            raise

    def submit(self, call: Call[T], deadline: Deadline, cancel: Cancellation | None = None) -> Exchange:
        """Sends a request, and does not wait for its reply. Waits while too many are in flight."""
        self.close_dropped()
        check(cancel)
        with self._slots:
            if not self._slots.wait_for(self._has_slot, deadline.remaining()):
                raise DeadlineExceeded("too many requests were in flight for too long; nothing was sent")
            self._check_alive()
            self._reserved += 1
        return self._send(call.op, call.body, deadline)

    def _has_slot(self) -> bool:
        return not self.alive or self._reserved < self._session.max_in_flight

    def _check_alive(self) -> None:
        if not self.alive:
            raise ConnectionLost(self._reason or "the server ended the session", sent=False)

    def _send(self, op: Op, body: bytes, deadline: Deadline) -> Exchange:
        """Sends a request for which a slot was reserved."""
        exchange = Exchange(self, op, deadline)
        try:
            if not self._writing.acquire(timeout=_seconds(deadline)):
                raise DeadlineExceeded("another request was being sent for too long; nothing was sent")
        except BaseException:
            self._give_back()
            raise
        try:
            try:
                with self._lock:
                    self._check_alive()
                    exchange.id, data = self._session.request(op, body, deadline.patience())
                    if self._exchanges:
                        exchange.answer_by = deadline.later(self._answer_by)
                    self._answer_by = exchange.answer_by
                    self._exchanges[exchange.id] = exchange
                    self._busy += not exchange.brief
            except BaseException:
                self._give_back()
                raise
            self._transmit(data, deadline)
        finally:
            self._writing.release()
        return exchange

    def _give_back(self) -> None:
        with self._slots:
            self._reserved -= 1
            self._slots.notify()

    def _transmit(self, data: bytes, deadline: Deadline) -> None:
        try:
            self._transport.send(data, deadline)
        except BaseException as error:
            # Part of a packet may be out: nothing can follow it.
            self.close(str(error.args[0]) if error.args else "the connection broke")
            raise

    def cancel(self, number: int) -> None:
        """Cancels a request, if it is in flight."""
        if not self._writing.acquire(timeout=_CANCEL_SECONDS):
            return
        try:
            with self._lock:
                data = self._session.cancel(number) if self._reason is None else None
            if data is not None:
                with contextlib.suppress(ConnectionLost, DeadlineExceeded):
                    self._transmit(data, Deadline(_CANCEL_SECONDS))
        finally:
            self._writing.release()

    def count_cursor(self, by: int) -> None:
        """Counts the cursors that are open, for the pool to spread them."""
        with self._lock:
            self.cursors += by

    def drop_cursor(self, cursor: int) -> None:
        """Closes a cursor with the next request. Takes no lock: a finalizer may call it anywhere."""
        self._dropped.append(cursor)

    def _close_dropped(self) -> None:
        while self._dropped:
            with self._slots:
                if not self._dropped or not self.alive or self._reserved >= self._session.max_in_flight:
                    return
                cursor = self._dropped.popleft()
                self._reserved += 1
                self.cursors -= 1
            body = encode_request(Op.CLOSE_CURSOR, {"cursor": cursor})
            self._send(Op.CLOSE_CURSOR, body, Deadline(_CANCEL_SECONDS))

    def close_dropped(self) -> None:
        """Closes the cursors that were dropped now, and does not wait for that."""
        with contextlib.suppress(ConnectionLost, DeadlineExceeded):
            self._close_dropped()

    def _read(self) -> None:
        reason = "the server closed the connection"
        failure: ServerError | ProtocolError | None = None
        begun = True
        try:
            while data := self._transport.receive(Deadline(None)):
                with self._slots:
                    for packet in self._session.receive(data):
                        exchange = self._exchanges.pop(packet.id)
                        self._reserved -= 1
                        self._busy -= not exchange.brief
                        exchange.resolve(packet)
                    self._slots.notify_all()
                if self._session.state is State.CLOSED:
                    # With a reply that ends it: what was sent behind that request was not begun.
                    reason, begun = "the server ended the session", False
                    break
            else:
                begun = not self._transport.orderly
        except (ServerError, ProtocolError) as error:
            failure, reason = error, str(error)
        except ConnectionLost as error:
            reason = error.reason
        except Exception as error:  # a reader that dies must not leave anyone waiting
            reason = f"the connection failed: {error!r}"
        finally:
            self._end(reason, failure, begun)

    def _end(self, reason: str, failure: ServerError | ProtocolError | None, begun: bool) -> None:
        with self._slots:
            if self._reason is None:
                self._reason = reason
            else:
                begun = True  # it was given up here, and what the server did is not known
            lost = self._reason
            self._session.end()
            waiting = list(self._exchanges.values())
            self._exchanges.clear()
            self._reserved -= len(waiting)
            self._slots.notify_all()

        def error() -> PlanckError:
            return ConnectionLost(lost, begun) if failure is None else type(failure)(*failure.args)

        for exchange in waiting:
            exchange.fail(error)
        self._transport.close()

    def close(self, reason: str = "the connection was closed") -> None:
        """Ends the connection. Requests that are not answered raise `ConnectionLost`."""
        with self._slots:
            if self._reason is None:
                self._reason = reason
            self._slots.notify_all()
        self._transport.shut()


_CANCEL_SECONDS = 5.0


def _seconds(deadline: Deadline) -> float:
    left = deadline.remaining()
    return -1 if left is None else left
