"""Requests that are sent together, without waiting for each reply.

What must stay true: they are carried out in the order in which they were sent, over one connection; each
answer is found at its own `Pending`; an error that nobody looked at is raised when the block ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from . import calls, result
from .connection import Call, Connection, Exchange
from .documents import Document
from .errors import PlanckError, UsageError
from .packets import Row
from .result import Parameters, Result
from .values import Key, KeyLike
from .waiting import DEFAULT, Cancellation, Deadline, Timeout, _Default

T = TypeVar("T")

_MAX_FAILED = 1000
"""Errors that nobody looked at, after which nothing more is sent."""


class Pending(Generic[T]):
    """An answer that is on its way."""

    def __init__(self, connection: Connection, call: Call[T], exchange: Exchange) -> None:
        self._connection = connection
        self._call = call
        self._exchange = exchange
        self._value: list[T] = []
        self._error: PlanckError | None = None
        self.seen = False

    def result(self) -> T:
        """Waits for the answer and gives it, or raises its error."""
        self.settle()
        self.seen = True
        if self._error is not None:
            raise self._error
        return self._value[0]

    @property
    def done(self) -> bool:
        """Whether `result` would not wait."""
        return self._exchange.done

    def cancel(self) -> None:
        """Asks the server to give it up. The answer comes all the same and says what became of it."""
        self._exchange.cancel()

    def settle(self) -> PlanckError | None:
        """Waits for the answer. Gives its error instead of raising it."""
        if not self._value and self._error is None:
            try:
                self._value.append(self._connection.finish(self._call, self._exchange))
            except PlanckError as error:
                self._error = error
        return self._error


class Pipeline:
    """Sends requests one behind the other. Made by `Client.pipeline`, for one thread.

    Nothing is sent again if the connection breaks: ask the `Pending`s what was answered.
    """

    def __init__(self, connection: Connection, timeout: float | None, cancel: Cancellation | None) -> None:
        self._connection = connection
        self._timeout = timeout
        self._cancel = cancel
        self._sent: deque[Pending[Any]] = deque()
        self._failed: list[Pending[Any]] = []
        self._open = True

    def send(self, call: Call[T], *, timeout: Timeout = DEFAULT) -> Pending[T]:
        """Sends a request of `planck.calls`. Waits only while as many are in flight as may be.

        The time that it waits behind the others counts: `timeout` is from sending it to its answer.
        """
        if not self._open:
            raise UsageError("the pipeline has ended")
        while self._sent and self._sent[0].done:
            self._look(self._sent.popleft())
        if len(self._failed) >= _MAX_FAILED:
            self._raise_unseen()
        deadline = Deadline(self._timeout if isinstance(timeout, _Default) else timeout)
        exchange = self._connection.submit(call, deadline, self._cancel)
        pending = Pending(self._connection, call, exchange)
        self._sent.append(pending)
        if self._cancel is not None and self._cancel.cancelled:
            pending.cancel()
        return pending

    def _look(self, pending: Pending[Any]) -> None:
        if pending.settle() is not None and not pending.seen:
            self._failed.append(pending)

    def _raise_unseen(self) -> None:
        failed, self._failed = self._failed, []
        for pending in failed:
            if not pending.seen:
                pending.result()

    def cancel(self) -> None:
        """Cancels all that is in flight. May be called from any thread."""
        for pending in tuple(self._sent):
            pending.cancel()

    def finish(self, failed: bool) -> None:
        """Waits for all answers. After a failure in the block they are cancelled first, and their errors dropped."""
        self._open = False
        if failed:
            self.cancel()
        while self._sent:
            # It stays in the list while it is waited for, so that a cancellation finds it.
            self._look(self._sent[0])
            self._sent.popleft()
        if not failed:
            self._raise_unseen()

    def insert(self, store: str, document: Mapping[str, Any], key: KeyLike | None = None) -> Pending[Key]:
        """Adds a document."""
        return self.send(calls.insert(store, document, key))

    def insert_many(self, store: str, documents: Iterable[calls.Item]) -> Pending[list[Key]]:
        """Adds all documents or none."""
        return self.send(calls.insert_many(store, documents))

    def read(self, store: str, key: KeyLike) -> Pending[Row]:
        """One document, which must be there."""
        return self.send(calls.read(store, key))

    def get(self, store: str, key: KeyLike) -> Pending[Document | None]:
        """One document, or None."""
        return self.send(calls.get(store, key))

    def replace(self, store: str, key: KeyLike, document: Mapping[str, Any]) -> Pending[Key]:
        """Puts a document in the place of another, which must be there."""
        return self.send(calls.update(store, key, document, False))

    def upsert(self, store: str, key: KeyLike, document: Mapping[str, Any]) -> Pending[Key]:
        """Puts a document under a key, whether there was one or not."""
        return self.send(calls.update(store, key, document, True))

    def delete(self, store: str, key: KeyLike, *, missing_ok: bool = False) -> Pending[bool]:
        """Removes a document, which must be there unless `missing_ok`."""
        return self.send(calls.delete(store, key, missing_ok))

    def query(self, text: str, parameters: Parameters = None) -> Pending[Result]:
        """Runs a query."""
        return self.send(result.query(text, parameters, self._timeout))
