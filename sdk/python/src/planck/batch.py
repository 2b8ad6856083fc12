"""Writes in any stores that take effect together, each under a condition.

What must stay true: nothing is asked of the server before `run`; what is sent is what was added, in its order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from . import calls
from .errors import UsageError
from .shapes import Condition, Step, StepKind
from .store import Runs
from .values import Key, KeyLike
from .waiting import DEFAULT, Cancellation, Timeout

B = TypeVar("B", bound="Batch")


@dataclass(frozen=True)
class Applied:
    """What a batch came to: the version that all documents written have now, and the key of each step.

    In a transaction the version is 0: its commit is still to come.
    """

    version: int
    keys: Sequence[Key]


class Batch:
    """Steps of one request: all are done in one commit, or none. Made by `Client.batch` and `Transaction.batch`.

    Each step may have one condition, of its document as it is before any step: `absent=True`, `present=True` or
    `version=n`. If one does not hold, `run` raises a `ConflictError` of status `Status.CONDITION_FAILED`, and
    nothing is written. That is not tried again: read, decide anew.

    >>> found = client.store("accounts").get_versioned(key)
    >>> batch = client.batch().replace("accounts", key, {"sum": found.document["sum"] - 1}, version=found.version)
    >>> batch.insert("log", {"what": "one less"}).run()
    """

    def __init__(self, client: Runs) -> None:
        self._client = client
        self._steps: list[Step] = []

    def __len__(self) -> int:
        return len(self._steps)

    def __repr__(self) -> str:
        return f"Batch({len(self._steps)} steps)"

    def insert(
        self: B, store: str, document: Mapping[str, Any], key: KeyLike | None = None, *, absent: bool = False
    ) -> B:
        """Adds a document, under a key that has none, or one that the server makes."""
        return self._add(StepKind.INSERT, store, key, document, absent, False, None)

    def put(
        self: B,
        store: str,
        key: KeyLike,
        document: Mapping[str, Any],
        *,
        absent: bool = False,
        present: bool = False,
        version: int | None = None,
    ) -> B:
        """Writes a document, whatever is under the key."""
        return self._add(StepKind.PUT, store, key, document, absent, present, version)

    def replace(
        self: B, store: str, key: KeyLike, document: Mapping[str, Any], *, version: int | None = None
    ) -> B:
        """Writes a document in the place of the one under the key, which must be there."""
        return self._add(StepKind.REPLACE, store, key, document, False, False, version)

    def delete(self: B, store: str, key: KeyLike, *, version: int | None = None) -> B:
        """Removes the document under the key, which must be there."""
        return self._add(StepKind.DELETE, store, key, None, False, False, version)

    def check(
        self: B,
        store: str,
        key: KeyLike,
        *,
        absent: bool = False,
        present: bool = False,
        version: int | None = None,
    ) -> B:
        """Writes nothing: the condition must hold for the other steps to be done."""
        if not (absent or present or version is not None):
            raise UsageError("a check is there for its condition: give absent, present or version")
        return self._add(StepKind.CHECK, store, key, None, absent, present, version)

    def _add(
        self: B,
        kind: StepKind,
        store: str,
        key: KeyLike | None,
        document: Mapping[str, Any] | None,
        absent: bool,
        present: bool,
        version: int | None,
    ) -> B:
        if absent + present + (version is not None) > 1:
            raise UsageError("a step has one condition: absent, present or version")
        if version is not None and version < 1:
            raise UsageError("a version is 1 or more; what a transaction has written itself has none yet")
        condition = Condition.ABSENT if absent else Condition.PRESENT if present else Condition.NONE
        if version is not None:
            condition = Condition.VERSION
        self._steps.append(Step(kind, store, condition, version or 0, key, document))
        return self

    def run(self, *, timeout: Timeout = DEFAULT, cancel: Cancellation | None = None) -> Applied:
        """Does all of it, or nothing. It may be run again, which asks again."""
        version, keys = self._client.run(calls.apply(self._steps), timeout, cancel)
        return Applied(version, keys)
