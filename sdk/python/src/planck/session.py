"""A session as a state machine: what may be sent now, and what an arriving packet answers. No I/O.

What must stay true: nothing but one Auth is sent before its reply has come; ids of requests in flight
differ; each reply must be that of the oldest request that is not answered; no more requests are in flight
than the server allows; after a fault nothing more is sent or taken.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from .documents import Document
from .errors import ProtocolError, ServerError, Status, UsageError, error_of
from .packets import (
    HEADER_BYTES,
    Answer,
    Failure,
    Framer,
    Kind,
    Op,
    Packet,
    decode_reply,
    encode_packet,
    encode_request,
)

MAX_AUTH = 4096
"""Bytes of an Auth packet, header included."""

_MAX_AUTH_REPLY = 64 << 10
_MAX_PATIENCE = (1 << 32) - 1
_LAST_ID = (1 << 64) - 1

CLOSES = frozenset({Status.MESSAGE_TOO_LARGE, Status.UNKNOWN_VERSION, Status.NOT_AUTHENTICATED})
"""Behind a reply of one of these the server closes the connection."""


class State(enum.Enum):
    """Where a session stands."""

    NEW = "new"
    AUTHENTICATING = "authenticating"
    READY = "ready"
    CLOSED = "closed"


@dataclass(frozen=True)
class SessionInfo:
    """What the server says of a session when it begins."""

    server: str
    session: int
    user: str
    role: str
    max_message_size: int
    max_in_flight: int
    idle_timeout_ms: int
    document: Document = field(repr=False)

    @classmethod
    def of(cls, document: Document) -> SessionInfo:
        """From the document that answers an Auth. Fields that are not known are left in `document`."""

        def number(name: str, least: int) -> int:
            value = document.get(name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ProtocolError(f"the reply to the Auth has no usable `{name}`")
            return int(value)

        def text(name: str) -> str:
            value = document.get(name)
            if not isinstance(value, str):
                raise ProtocolError(f"the reply to the Auth has no usable `{name}`")
            return value

        if number("protocol", 0) != 1:
            raise ProtocolError(f"the server speaks version {document['protocol']} of the protocol")
        return cls(
            text("server"),
            number("session", 0),
            text("user"),
            text("role"),
            number("max_message_size", MAX_AUTH),
            number("max_in_flight", 1),
            number("idle_timeout_ms", 0),
            document,
        )


class Session:
    """One side of a connection's packets: the client's."""

    def __init__(self, max_reply_bytes: int, max_in_flight: int) -> None:
        self.state = State.NEW
        self.info: SessionInfo | None = None
        self._max_reply = max_reply_bytes
        self._max_in_flight = max_in_flight
        self._in_flight: deque[int] = deque()
        self._framer = Framer(min(_MAX_AUTH_REPLY, max_reply_bytes))
        self._next_id = 1

    @property
    def max_in_flight(self) -> int:
        """Requests that may be sent and not answered: the server's bound or the client's, the smaller."""
        return self._max_in_flight if self.info is None else min(self._max_in_flight, self.info.max_in_flight)

    @property
    def in_flight(self) -> tuple[int, ...]:
        """Ids of the requests that are sent and not answered, the oldest first."""
        return tuple(self._in_flight)

    @property
    def buffered(self) -> int:
        """Bytes of a packet that is not whole yet."""
        return self._framer.pending

    def auth(self, user: str, key: str) -> bytes:
        """The first packet."""
        if self.state is not State.NEW:
            raise UsageError("a session begins with one Auth")
        _, data = self._send(Op.AUTH, encode_request(Op.AUTH, {"user": user, "key": key}), 0, MAX_AUTH)
        self.state = State.AUTHENTICATING
        return data

    def request(self, op: Op, body: bytes, patience: int = 0) -> tuple[int, bytes]:
        """The id and the bytes of a request."""
        if self.state is not State.READY or self.info is None:
            raise UsageError(f"the session is {self.state.value}")
        if len(self._in_flight) >= self.max_in_flight:
            raise UsageError(f"{self.max_in_flight} requests are in flight, which is the bound")
        return self._send(op, body, min(patience, _MAX_PATIENCE), self.info.max_message_size)

    def _send(self, op: Op, body: bytes, patience: int, limit: int) -> tuple[int, bytes]:
        if HEADER_BYTES + len(body) > limit:
            raise error_of(
                Status.MESSAGE_TOO_LARGE,
                f"the request has {HEADER_BYTES + len(body)} bytes, at most {limit} are taken; it was not sent",
            )
        number = self._next_id
        self._next_id = number + 1 if number < _LAST_ID else 1
        self._in_flight.append(number)
        return number, encode_packet(Packet(Kind.REQUEST, op, number, body, patience))

    def cancel(self, number: int) -> bytes | None:
        """The bytes that cancel a request; None if it is not in flight."""
        if self.state is not State.READY or number not in self._in_flight:
            return None
        return encode_packet(Packet(Kind.CANCEL, 0, number))

    def receive(self, data: bytes) -> Iterator[Packet]:
        """The replies that are whole with these bytes, each once, in their order.

        A fault of the server, or an error that speaks of the connection, is raised behind the replies
        before it, and ends the session.
        """
        if self.state is State.CLOSED:
            return
        self._framer.feed(data)
        try:
            while (packet := self._framer.next()) is not None:
                self._take(packet)
                yield packet
        except (ProtocolError, ServerError):
            self.state = State.CLOSED
            raise

    def _take(self, packet: Packet) -> None:
        if packet.kind is not Kind.REPLY or packet.patience:
            raise ProtocolError("the server sent a packet that is no reply")
        if packet.id == 0:
            if packet.code == 0:
                raise ProtocolError("the server sent a reply to nothing")
            failure = decode_reply(packet.code, packet.body)
            assert isinstance(failure, Failure)
            raise error_of(failure.status, failure.message)
        if not self._in_flight or self._in_flight[0] != packet.id:
            raise ProtocolError(f"a reply to request {packet.id}, which is not the oldest in flight")
        self._in_flight.popleft()
        if self.state is State.AUTHENTICATING:
            self._begin(packet)
        elif packet.code in CLOSES:
            self.state = State.CLOSED

    def _begin(self, packet: Packet) -> None:
        reply = decode_reply(packet.code, packet.body)
        if isinstance(reply, Failure):
            raise error_of(reply.status, reply.message)
        if not isinstance(reply, Answer):
            raise ProtocolError("the Auth was answered with something else than a document")
        self.info = SessionInfo.of(reply.document)
        self._framer.limit = min(self._max_reply, self.info.max_message_size)
        self.state = State.READY

    def end(self) -> tuple[int, ...]:
        """Ends the session; answers the ids of the requests that were not answered."""
        self.state = State.CLOSED
        lost = tuple(self._in_flight)
        self._in_flight.clear()
        return lost
