"""The client: operations as methods, over a pool of connections, from any number of threads.

What must stay true: a request is sent again only if that is safe: it was surely not begun, or the server
answered that it is busy (then nothing has changed), or the protocol lists the request as one that may be
repeated; and only while the caller's time lasts.
"""

from __future__ import annotations

import contextlib
import datetime
import pathlib
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, TypeVar

from . import calls, result
from .batch import Batch
from .connection import Call, Connection, Options
from .documents import Document
from .errors import (
    BusyError,
    CertificateRefused,
    ConflictError,
    ConnectionLost,
    NotFoundError,
    PlanckError,
    Status,
    UsageError,
)
from .packets import Op
from .pipeline import Pipeline
from .pool import Pool
from .result import PAGE_BYTES, Parameters, Result
from .store import Sequence, Store
from .tls import ClientCertificate, fingerprint_of_pem, make_context, parse_fingerprint
from .transaction import Transaction
from .values import DateTime, Key, KeyLike
from .waiting import DEFAULT, Cancellation, Deadline, Timeout, _Default, check
from .watch import Watch, Watched

T = TypeVar("T")

DEFAULT_PORT = 24010

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 3.2
_QUERIES = (Op.QUERY, Op.STREAM)


class Client:
    """A server, as one user. Connections are opened when they are needed, up to `max_connections`.

    `address` is `HOST:PORT`, an IPv6 one `[::1]:24010`. The server is known by its `fingerprint`, which it
    prints when it starts. `plaintext=True` sends all without TLS, the key too: for a server with
    `tls.enabled: false` on a line that nobody listens to.

    `timeout` is for each operation, in seconds, from asking for it to having its answer; an operation can be
    given another, and None is no bound. Behind it the client still waits `grace` for the answer that says
    what became of the request, and takes the connection for lost then.
    """

    def __init__(
        self,
        address: str,
        *,
        user: str,
        key: str,
        fingerprint: str | None = None,
        plaintext: bool = False,
        client_certificate: ClientCertificate | None = None,
        timeout: float | None = 60.0,
        grace: float = 2.0,
        connect_timeout: float = 10.0,
        pool_timeout: float | None = 30.0,
        max_connections: int = 8,
        max_in_flight: int = 64,
        max_reply_bytes: int = 64 << 20,
        retries: int = 4,
    ) -> None:
        if plaintext == (fingerprint is not None):
            raise UsageError("give the server's fingerprint, or plaintext=True to send all, the key too, without TLS")
        if plaintext and client_certificate is not None:
            raise UsageError("a client's certificate is of use with TLS only")
        if max_connections < 1 or max_in_flight < 1 or retries < 0 or grace < 0 or max_reply_bytes < 4096:
            raise UsageError("max_connections, max_in_flight, max_reply_bytes, retries or grace is too small")
        for seconds in (timeout, connect_timeout, pool_timeout):
            Deadline(seconds)
        host, port = parse_address(address)
        self._timeout = timeout
        self._retries = retries
        self._options = Options(
            host=host,
            port=port,
            user=user,
            key=key,
            fingerprint=None if fingerprint is None else parse_fingerprint(fingerprint),
            context=None if plaintext else make_context(client_certificate),
            connect_timeout=connect_timeout,
            grace=grace,
            max_reply_bytes=max_reply_bytes,
            max_in_flight=max_in_flight,
        )
        self._pool = Pool(max_connections, pool_timeout, self._connect)

    @classmethod
    def local(
        cls, directory: str | pathlib.Path, *, user: str = "admin", key: str | None = None, **options: Any
    ) -> Client:
        """A client of the service that runs in a directory of this machine.

        It is found by `run/wire.addr`, known by `tls/cert.pem`, and asked as `admin` with `admin.key` unless
        another user and key are given. `options` are those of `Client`.
        """
        root = pathlib.Path(directory)
        if key is None and user != "admin":
            raise UsageError("give the key of this user; only the admin's is in the directory")
        try:
            address = (root / "run" / "wire.addr").read_text().strip()
            key = (root / "admin.key").read_text().strip() if key is None else key
            if not options.get("plaintext") and "fingerprint" not in options:
                options["fingerprint"] = fingerprint_of_pem((root / "tls" / "cert.pem").read_text())
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"no service to be found in {root}: {error}") from error
        host, port = parse_address(address)
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return cls(f"[{host}]:{port}" if ":" in host else f"{host}:{port}", user=user, key=key, **options)

    def _connect(self, deadline: Deadline) -> Connection:
        return Connection.open(self._options, deadline)

    def __repr__(self) -> str:
        return f"Client('{self._options.host}', {self._options.port}, user={self._options.user!r})"

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections. Results that are not read to their end cannot be read on."""
        self._pool.close()

    def _seconds(self, timeout: Timeout) -> float | None:
        return self._timeout if isinstance(timeout, _Default) else timeout

    def run(self, call: Call[T], timeout: Timeout = DEFAULT, cancel: Cancellation | None = None) -> T:
        """Runs a request of `planck.calls`. What it raises is in `planck.errors`."""
        deadline = Deadline(self._seconds(timeout))
        maybe_done = False
        tries = 0
        while True:
            try:
                with self._pool.lend(deadline, cancel, call.op in _QUERIES) as connection:
                    return connection.call(call, deadline, cancel)
            except ConnectionLost as error:
                if isinstance(error, CertificateRefused) or (error.sent and not call.repeatable):
                    raise
                maybe_done = maybe_done or error.sent
                if not self._rest(tries, deadline, cancel):
                    raise
            except BusyError as error:
                if error.status != Status.BUSY or not self._rest(tries, deadline, cancel):
                    raise
            except (ConflictError, NotFoundError) as error:
                error.maybe_done = maybe_done
                raise
            tries += 1

    def _rest(self, tries: int, deadline: Deadline, cancel: Cancellation | None) -> bool:
        """Waits before a request is sent again; false if it shall not be."""
        delay = min(_FIRST_DELAY * 2.0**tries, _LONGEST_DELAY) * random.uniform(0.5, 1.0)
        left = deadline.remaining()
        if tries >= self._retries or (left is not None and left <= delay):
            return False
        if cancel is None:
            time.sleep(delay)
        else:
            cancel.sleep(delay)
            check(cancel)
        return True

    def store(self, name: str) -> Store:
        """A store, by its name. Nothing is asked of the server."""
        return Store(self, name)

    def batch(self) -> Batch:
        """Writes in any stores, each under a condition, that are one commit: see `Batch`. Nothing is asked yet."""
        return Batch(self)

    def sequence(self, name: str) -> Sequence:
        """A sequence, by its name. Nothing is asked of the server."""
        return Sequence(self, name)

    def query(
        self,
        text: str,
        parameters: Parameters = None,
        *,
        page_rows: int = 0,
        page_bytes: int = PAGE_BYTES,
        ahead: bool = True,
        timeout: Timeout = DEFAULT,
        cancel: Cancellation | None = None,
    ) -> Result:
        """Runs PQL. `$1`, `$2` and on are the parameters: a list of values, or `{"1": .., "2": ..}`.

        It runs now, also if nobody reads its result. Rows come in pages of at most `page_rows` rows and about
        `page_bytes` bytes (0: as many as fit a reply), the next one asked for while one is read if `ahead`.
        The timeout is of each page.
        """
        seconds = self._seconds(timeout)
        call = result.stream(text, parameters, page_rows, page_bytes, seconds, cancel, ahead)
        return self.run(call, timeout, cancel)

    @contextlib.contextmanager
    def pipeline(self, *, timeout: Timeout = DEFAULT, cancel: Cancellation | None = None) -> Iterator[Pipeline]:
        """A block in which requests are sent without waiting for each answer, over one connection, in order.

        The end of the block waits for all answers and raises the first error that nobody looked at. The
        timeout is of each request.
        """
        seconds = self._seconds(timeout)
        with self._pool.lend(Deadline(seconds), cancel) as connection:
            pipeline = Pipeline(connection, seconds, cancel)
            mark = cancel.attach(pipeline.cancel) if cancel is not None else 0
            try:
                yield pipeline
            except BaseException:
                pipeline.finish(True)
                raise
            else:
                pipeline.finish(False)
            finally:
                if cancel is not None:
                    cancel.detach(mark)

    def transaction(
        self,
        work: Callable[[Transaction], T],
        *,
        read_only: bool = False,
        timeout: Timeout = DEFAULT,
        cancel: Cancellation | None = None,
    ) -> T:
        """Runs `work` with a transaction: all it reads is of one moment, all it wrote takes effect when it returns.

        All of it or nothing, and as if nobody else had been there meanwhile. If another commit changed what it rests on, it is run again from its beginning, a few times: so it
        should do nothing but ask through the transaction, and decide. If it raises, nothing of it is done.
        The timeout is for all of it, and of each request.
        """
        seconds = self._seconds(timeout)
        deadline = Deadline(seconds)
        tries = 0
        while True:
            transaction = None
            try:
                with self._pool.lend(deadline, cancel) as connection:
                    milliseconds = min(deadline.patience(), (1 << 32) - 1)
                    number = connection.call(calls.begin(read_only, milliseconds), deadline, cancel)
                    transaction = Transaction(connection, number, seconds)
                    return self._within(transaction, work)
            except ConnectionLost as error:
                # What was sent of it last may have been the commit.
                again = not isinstance(error, CertificateRefused) and not error.sent
                if not again or not self._rest(tries, deadline, cancel):
                    raise
            except PlanckError as error:
                busy = isinstance(error, BusyError) and error.status == Status.BUSY and transaction is None
                disturbed = transaction is not None and transaction.disturbed
                if not (busy or disturbed) or not self._rest(tries, deadline, cancel):
                    raise
            tries += 1

    def _within(self, transaction: Transaction, work: Callable[[Transaction], T]) -> T:
        try:
            done = work(transaction)
        except BaseException:
            with contextlib.suppress(PlanckError):
                transaction.end(False)
            raise
        transaction.end(True)
        return done

    def watch(
        self,
        stores: Iterable[Watched],
        *,
        since: str | int | None = None,
        documents: bool = False,
        wait: float = 20.0,
        max_bytes: int = PAGE_BYTES,
    ) -> Watch:
        """What changes in stores, as it happens: an endless iterator of `Event`s, each change once.

        From now on; since a token of an earlier one (`Event.token`, `Watch.token`) of the same stores, or the
        number of a commit; or, with `documents`, first all documents of one moment as `Row`s, then None, then
        what has changed since. Each wait keeps a connection busy, for `wait` seconds at most. An error ends
        no watch: the next iteration goes on where it was; after a gap `Watch.begin_anew`.
        """
        return Watch(self, stores, since, documents, wait, max_bytes)

    def ping(self, *, timeout: Timeout = DEFAULT) -> None:
        """Asks whether the server is there."""
        self.run(calls.ping(), timeout)

    def session(self, *, timeout: Timeout = DEFAULT) -> Document:
        """What the server said of one of the sessions when it began: its version, the user's role, its bounds."""
        with self._pool.lend(Deadline(self._seconds(timeout))) as connection:
            return dict(connection.info.document)

    def stats(self, *, timeout: Timeout = DEFAULT) -> Document:
        """Figures of the server, under their names."""
        return self.run(calls.stats(), timeout)

    def stores(self, *, timeout: Timeout = DEFAULT) -> list[Document]:
        """A document about each store, by name."""
        return self.run(calls.list_stores(), timeout)

    def sequences(self, *, timeout: Timeout = DEFAULT) -> list[Document]:
        """A document about each sequence."""
        return self.run(calls.list_sequences(), timeout)

    def running_queries(self, *, timeout: Timeout = DEFAULT) -> list[Document]:
        """The user's queries that run or wait for their next page; an admin sees everybody's."""
        return self.run(calls.running_queries(), timeout)

    def cancel_query(self, query: int, *, timeout: Timeout = DEFAULT) -> None:
        """Ends a query of any session, by its `id` of `running_queries`."""
        self.run(calls.cancel_query(query), timeout)

    def format_query(self, text: str, *, timeout: Timeout = DEFAULT) -> str:
        """A query in its canonical form. It is not run."""
        return self.run(calls.format_query(text), timeout)

    def users(self, *, timeout: Timeout = DEFAULT) -> list[Document]:
        """A document about each user: role, grants, and of each key its name, when it was made and expires."""
        users, after = self.run(calls.list_users(), timeout)
        while after is not None:
            more, after = self.run(calls.list_users(after), timeout)
            users += more
        return users

    def create_user(
        self,
        name: str,
        role: str,
        *,
        key: str | None = None,
        grants: Mapping[str, str] | None = None,
        if_not_exists: bool = False,
        timeout: Timeout = DEFAULT,
    ) -> Document:
        """Makes a user. Gives `{name, created, key}`, the key only if it was made: it is told this once.

        `grants` are other roles in single stores: `{"flights": "read_write"}`. With `if_not_exists` a user of
        that name may be there, if with the same role and grants.
        """
        return self.run(calls.create_user(name, role, key, if_not_exists, grants), timeout)

    def alter_user(
        self,
        name: str,
        *,
        role: str | None = None,
        key: str | None = None,
        new_key: bool = False,
        grants: Mapping[str, str | None] | None = None,
        timeout: Timeout = DEFAULT,
    ) -> Document:
        """Gives a user another role, another key, or with `new_key` one that is made and told this once.

        The key takes the place of all they have, and their sessions with another end. This client goes on
        with its key: after changing that, make another client. `grants` change those that are named: a role
        in that store, or None to take the grant away.
        """
        if key is not None and new_key:
            raise UsageError("give a key or have one made")
        change: dict[str, Any] = {} if role is None else {"role": role}
        if key is not None or new_key:
            change["key"] = key
        if grants is not None:
            change["grants"] = dict(grants)
        return self.run(calls.alter_user(name, change), timeout)

    def drop_user(self, name: str, *, if_exists: bool = False, timeout: Timeout = DEFAULT) -> None:
        """Removes a user; their sessions end."""
        self.run(calls.drop_user(name, if_exists), timeout)

    def create_key(
        self,
        user: str,
        name: str,
        *,
        expires: datetime.datetime | DateTime | None = None,
        timeout: Timeout = DEFAULT,
    ) -> Document:
        """Makes one more key for a user. Gives `{user, name, key, expires}`: the key is told this once.

        Everybody may make keys for themselves; who is no admin gets none that outlasts the one they came with.
        """
        return self.run(calls.create_key(user, name, expires), timeout)

    def revoke_key(self, user: str, name: str, *, if_exists: bool = False, timeout: Timeout = DEFAULT) -> None:
        """Takes a key from a user, by its name; the sessions that it opened end."""
        self.run(calls.revoke_key(user, name, if_exists), timeout)

    def flush(self, *, timeout: Timeout = DEFAULT) -> None:
        """Moves what is in memory to the trees."""
        self.run(calls.flush(), timeout)

    def backup(self, *, begin: bool = True, full: bool = False, timeout: Timeout = DEFAULT) -> Document:
        """Asks for a backup, `full` for one that rests on none before; without `begin` only how the last one goes."""
        return self.run(calls.backup(begin, full), timeout)

    def reload_module(self, *, timeout: Timeout = DEFAULT) -> Document:
        """Reads the guest's module again, and has the new one serve. Gives `{module, before, changed, took_us}`.

        A module that cannot be used is refused with BAD_MODULE, and the one before serves on.
        """
        return self.run(calls.reload_module(), timeout)

    def schedule(
        self,
        path: str,
        payload: str | bytes | Mapping[str, Any] | None = None,
        *,
        upstream: str | None = None,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        due: datetime.datetime | DateTime | None = None,
        in_ms: int | None = None,
        max_attempts: int | None = None,
        idempotency_key: str | None = None,
        timeout: Timeout = DEFAULT,
    ) -> Key:
        """Has a job run when it is due: a call of a path of the service's guest, or of a service of `upstreams`.

        It is due at once, at `due`, or after `in_ms` milliseconds. A payload that is a mapping is sent as JSON.
        Gives the key of the job in the store `_jobs`. Needs an admin, or a grant of read_write for that store.
        """
        call = calls.schedule(
            path, payload, upstream, method, headers, due, in_ms, max_attempts, idempotency_key
        )
        return self.run(call, timeout)

    def position(self, lsn: int = 0, *, max_wait_ms: int = 0, timeout: Timeout = DEFAULT) -> Document:
        """How far this server is, once the commit `lsn` can be read there: so a replica shows what
        was written at its primary. `lsn` may be waited for so many milliseconds."""
        return self.run(calls.position(lsn, max_wait_ms), timeout)

    def promote(self, *, timeout: Timeout = DEFAULT) -> Document:
        """Makes this replica the primary: its new `term`, and the `lsn` that it begins with."""
        return self.run(calls.promote(), timeout)

    def demote(self, *, timeout: Timeout = DEFAULT) -> Document:
        """Makes this primary a replica: the `lsn` of its last commit."""
        return self.run(calls.demote(), timeout)

    def retry_job(self, job: KeyLike, *, timeout: Timeout = DEFAULT) -> None:
        """Puts a job of the store `_dead_jobs` back among those that wait, as if it had never been tried."""
        self.run(calls.retry_job(job), timeout)


def parse_address(address: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT` or `[IPv6]:PORT`; without a port it is 24010."""
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]"):
        host, port = address, str(DEFAULT_PORT)
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise UsageError("an IPv6 address is written [::1]:24010")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise UsageError("an address is HOST:PORT")
    return host, int(port)
