"""Requests that take effect together, or not at all.

What must stay true: all requests of a transaction go over its one connection, one after the other; it is run
again by itself only if it was surely not committed; a connection with a transaction of which it is not known
whether it has ended is closed, which ends it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from . import calls, result
from .batch import Batch
from .connection import Call, Connection, Exchange
from .errors import PlanckError, ServerError, Status, UsageError
from .packets import Op, encode_request
from .result import PAGE_BYTES, Parameters, Result
from .store import Store
from .waiting import DEFAULT, Cancellation, Deadline, Timeout, _Default

T = TypeVar("T")


def part_of(call: Call[T], transaction: int) -> Call[T]:
    """The same request, as part of a transaction."""
    fields = {"transaction": transaction, "operation": call.op, "body": call.body}
    return replace(call, op=Op.WITHIN, body=encode_request(Op.WITHIN, fields), repeatable=False)


class _Bound:
    """A connection as a `Result` uses it, all of whose requests are part of a transaction."""

    def __init__(self, connection: Connection, transaction: int) -> None:
        self._connection = connection
        self._transaction = transaction

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def submit(self, call: Call[T], deadline: Deadline, cancel: Cancellation | None = None) -> Exchange:
        return self._connection.submit(part_of(call, self._transaction), deadline, cancel)


class Transaction:
    """What `Client.transaction` gives its work: stores and queries of one moment, with what was written so far."""

    def __init__(self, connection: Connection, number: int, seconds: float | None) -> None:
        self._connection = connection
        self._seconds = seconds
        self.number = number
        self._open = True
        self.disturbed = False

    def __repr__(self) -> str:
        return f"Transaction({self.number})"

    def run(self, call: Call[T], timeout: Timeout = DEFAULT, cancel: Cancellation | None = None) -> T:
        """Runs a request of `planck.calls` as part of the transaction. Nothing is sent again by itself."""
        return self.ask(part_of(call, self.number), timeout, cancel)

    def ask(self, call: Call[T], timeout: Timeout = DEFAULT, cancel: Cancellation | None = None) -> T:
        """Runs a request over the transaction's connection."""
        if not self._open:
            raise UsageError("this transaction has ended: begin another one")
        seconds = self._seconds if isinstance(timeout, _Default) else timeout
        try:
            return self._connection.call(call, Deadline(seconds), cancel)
        except ServerError as error:
            self.disturbed = self.disturbed or error.status == Status.TRANSACTION_CONFLICT
            raise

    def store(self, name: str) -> Store:
        """A store, by its name. Nothing is asked of the server."""
        return Store(self, name)

    def batch(self) -> Batch:
        """Steps that are one operation of the transaction: see `Batch`. Nothing is asked of the server."""
        return Batch(self)

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
        """Runs PQL, as `Client.query`, on what the transaction sees. Its result ends with the transaction."""
        seconds = self._seconds if isinstance(timeout, _Default) else timeout
        call = result.stream(text, parameters, page_rows, page_bytes, seconds, cancel, ahead)
        convert = call.convert

        def bound(reply: Any, connection: Connection) -> Result:
            # Its pages are part of the transaction too.
            return convert(reply, _Bound(connection, self.number))  # type: ignore[arg-type]

        return self.run(replace(call, convert=bound), timeout, cancel)

    def savepoint(self, *, timeout: Timeout = DEFAULT) -> int:
        """A place to come back to."""
        return self.ask(calls.savepoint(self.number), timeout)

    def rollback(self, savepoint: int, *, timeout: Timeout = DEFAULT) -> None:
        """Undoes what was written since a savepoint, which stays; later ones are gone, and so are results."""
        self.ask(calls.rollback(self.number, savepoint), timeout)

    def end(self, commit: bool) -> None:
        """Commits or aborts. However that goes, the transaction has ended."""
        call = calls.commit(self.number) if commit else calls.abort(self.number)
        try:
            self.ask(call)
        except ServerError:
            # It has answered, and so let go of it.
            raise
        except PlanckError:
            self._connection.close("a transaction was not ended")
            raise
        finally:
            self._open = False
