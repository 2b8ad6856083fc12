"""A store and a sequence as their users see them.

What must stay true: a name here is only a name: nothing is asked of the server before a method is called.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from . import calls
from .calls import IndexField, Item
from .connection import Call
from .documents import Document
from .errors import ProtocolError, UsageError
from .packets import Row, Rows, WithVersion
from .values import Int64, Key, KeyLike
from .waiting import DEFAULT, Cancellation, Timeout

T = TypeVar("T")

PAGE_ROWS = 1000
"""Rows of a page of a scan, if the caller does not say otherwise."""

_LAST_KEY = Key(b"\xff" * 16)
_FIRST_KEY = Key(bytes(16))


class Runs(Protocol):
    """What runs the requests of a store: a client, or a transaction."""

    def run(self, call: Call[T], timeout: Timeout = DEFAULT, cancel: Cancellation | None = None) -> T:
        """Runs a request."""


class Store:
    """Documents under keys. Made by `Client.store` and `Transaction.store`."""

    def __init__(self, client: Runs, name: str) -> None:
        self._client = client
        self.name = name

    def __repr__(self) -> str:
        return f"Store({self.name!r})"

    def insert(
        self,
        document: Mapping[str, Any],
        key: KeyLike | None = None,
        *,
        timeout: Timeout = DEFAULT,
        cancel: Cancellation | None = None,
    ) -> Key:
        """Adds a document under the key, or under one that the server makes; gives the key.

        With a key (`Key.new()` makes one) it is sent again if the connection breaks; without one it is not,
        since it is not known then whether it was done.
        """
        return self._client.run(calls.insert(self.name, document, key), timeout, cancel)

    def insert_many(
        self, documents: Iterable[Item], *, timeout: Timeout = DEFAULT, cancel: Cancellation | None = None
    ) -> list[Key]:
        """Adds all documents or none, in one commit. Each is a document, or a key and a document."""
        return self._client.run(calls.insert_many(self.name, documents), timeout, cancel)

    def get(self, key: KeyLike, *, timeout: Timeout = DEFAULT, cancel: Cancellation | None = None) -> Document | None:
        """The document under a key; None if there is none."""
        return self._client.run(calls.get(self.name, key), timeout, cancel)

    def read(self, key: KeyLike, *, timeout: Timeout = DEFAULT, cancel: Cancellation | None = None) -> Row:
        """The document under a key, which must be there."""
        return self._client.run(calls.read(self.name, key), timeout, cancel)

    def get_versioned(
        self, key: KeyLike, *, timeout: Timeout = DEFAULT, cancel: Cancellation | None = None
    ) -> WithVersion | None:
        """The document under a key as `.document`, and its `.version`; None if there is none.

        The version is the number of the commit that wrote it: every write gives it a larger one. A `Batch` can be
        made to be done only if it is still that one.
        """
        return self._client.run(calls.read_version(self.name, key), timeout, cancel)

    def replace(
        self,
        key: KeyLike,
        document: Mapping[str, Any],
        *,
        timeout: Timeout = DEFAULT,
        cancel: Cancellation | None = None,
    ) -> None:
        """Puts a document in the place of the one under the key, which must be there."""
        self._client.run(calls.update(self.name, key, document, False), timeout, cancel)

    def upsert(
        self,
        key: KeyLike,
        document: Mapping[str, Any],
        *,
        timeout: Timeout = DEFAULT,
        cancel: Cancellation | None = None,
    ) -> None:
        """Puts a document under the key, whether there was one or not."""
        self._client.run(calls.update(self.name, key, document, True), timeout, cancel)

    def delete(
        self,
        key: KeyLike,
        *,
        missing_ok: bool = False,
        timeout: Timeout = DEFAULT,
        cancel: Cancellation | None = None,
    ) -> bool:
        """Removes the document under the key, which must be there unless `missing_ok`; whether it was there."""
        return self._client.run(calls.delete(self.name, key, missing_ok), timeout, cancel)

    def scan(
        self,
        *,
        after: KeyLike | None = None,
        reverse: bool = False,
        limit: int | None = None,
        page_rows: int = PAGE_ROWS,
        timeout: Timeout = DEFAULT,
        cancel: Cancellation | None = None,
    ) -> Iterator[Row]:
        """All documents in the order of keys, from behind `after`, page by page; the timeout is of each page.

        A page may be of a later moment than the one before. For one moment use `Client.query`.
        """
        _check_page(page_rows, limit)
        left = limit
        while left is None or left > 0:
            page = page_rows if left is None else min(page_rows, left)
            rows = self._client.run(calls.scan(self.name, reverse, after, page), timeout, cancel)
            yield from rows.rows
            left = None if left is None else left - len(rows.rows)
            after = _onward(rows, after, reverse)
            if after is None:
                return

    def range(
        self,
        first: KeyLike = _FIRST_KEY,
        last: KeyLike = _LAST_KEY,
        *,
        reverse: bool = False,
        limit: int | None = None,
        page_rows: int = PAGE_ROWS,
        timeout: Timeout = DEFAULT,
        cancel: Cancellation | None = None,
    ) -> Iterator[Row]:
        """Documents between two keys, both included, in the order of keys or downwards. As `scan` otherwise."""
        _check_page(page_rows, limit)
        low, high, left = Key.of(first), Key.of(last), limit
        while left is None or left > 0:
            page = page_rows if left is None else min(page_rows, left)
            rows = self._client.run(calls.key_range(self.name, reverse, low, high, page), timeout, cancel)
            yield from rows.rows
            left = None if left is None else left - len(rows.rows)
            mark = _onward(rows, None, reverse)
            if mark is None:
                return
            if not low <= mark <= high:
                raise ProtocolError("the server's page goes beyond the range that was asked for")
            beyond = mark.predecessor() if reverse else mark.successor()
            if beyond is None or not low <= beyond <= high:
                return
            low, high = (low, beyond) if reverse else (beyond, high)

    def describe(self, *, timeout: Timeout = DEFAULT) -> Document:
        """All there is to say of the store: its documents, indexes, schema."""
        return self._client.run(calls.describe_store(self.name), timeout)

    def create(self, *, if_not_exists: bool = False, timeout: Timeout = DEFAULT) -> None:
        """Makes the store."""
        self._client.run(calls.create_store(self.name, if_not_exists), timeout)

    def drop(self, *, if_exists: bool = False, timeout: Timeout = DEFAULT) -> None:
        """Removes the store and all in it."""
        self._client.run(calls.drop_store(self.name, if_exists), timeout)

    def rename(self, name: str, *, timeout: Timeout = DEFAULT) -> Store:
        """Gives the store another name; the answer is the store under that name."""
        self._client.run(calls.alter_store(self.name, {"rename": name}), timeout)
        return Store(self._client, name)

    def set_schema(self, schema: str | None, *, timeout: Timeout = DEFAULT) -> None:
        """Holds documents to a JSON Schema, given as text, or to none."""
        self._client.run(calls.alter_store(self.name, {"schema": schema}), timeout)

    def keep_before(self, kept: bool, *, timeout: Timeout = DEFAULT) -> None:
        """Keeps in the log what documents were before a write, for those who watch; or no more."""
        self._client.run(calls.alter_store(self.name, {"before_images": kept}), timeout)

    def set_ttl(self, field: str | None, seconds: int = 0, *, timeout: Timeout = DEFAULT) -> None:
        """Lets documents expire so many seconds after the date in a field; None: never."""
        ttl = None if field is None else {"field": field, "seconds": seconds}
        self._client.run(calls.alter_store(self.name, {"ttl": ttl}), timeout)

    def create_index(
        self,
        *fields: IndexField,
        name: str | None = None,
        unique: bool = False,
        sparse: bool = False,
        where: str | None = None,
        if_not_exists: bool = False,
        timeout: Timeout = DEFAULT,
    ) -> Document:
        """Makes an index of 1 to 8 fields, `"-a"` for downwards. Gives `{name, created}`; it is built meanwhile.

        `where` is the condition of a partial index, in PQL.
        """
        call = calls.create_index(self.name, fields, name, unique, sparse, where, if_not_exists)
        return self._client.run(call, timeout)

    def drop_index(self, name: str, *, if_exists: bool = False, timeout: Timeout = DEFAULT) -> None:
        """Removes an index."""
        self._client.run(calls.drop_index(self.name, name, if_exists), timeout)

    def check_indexes(
        self, name: str = "", *, timeout: Timeout = DEFAULT, cancel: Cancellation | None = None
    ) -> list[Document]:
        """Compares an index, or all, with the documents: a row for each difference, and last one of figures."""
        return self._client.run(calls.check_indexes(self.name, name), timeout, cancel)


class Sequence:
    """Numbers that are given out once. Made by `Client.sequence`."""

    def __init__(self, client: Runs, name: str) -> None:
        self._client = client
        self.name = name

    def __repr__(self) -> str:
        return f"Sequence({self.name!r})"

    def next(self, count: int = 1, *, timeout: Timeout = DEFAULT) -> range:
        """Takes numbers, 1 to 1,000,000 of them."""
        return self._client.run(calls.next_numbers(self.name, count), timeout)

    def create(self, *, if_not_exists: bool = False, timeout: Timeout = DEFAULT) -> None:
        """Makes the sequence."""
        self._client.run(calls.create_sequence(self.name, if_not_exists), timeout)

    def drop(self, *, if_exists: bool = False, timeout: Timeout = DEFAULT) -> None:
        """Removes the sequence."""
        self._client.run(calls.drop_sequence(self.name, if_exists), timeout)

    def rename(self, name: str, *, timeout: Timeout = DEFAULT) -> Sequence:
        """Gives the sequence another name; the answer is the sequence under that name."""
        self._client.run(calls.alter_sequence(self.name, {"rename": name}), timeout)
        return Sequence(self._client, name)

    def raise_to(self, number: int, *, timeout: Timeout = DEFAULT) -> None:
        """Lets the sequence go on with this number, which must be a larger one."""
        self._client.run(calls.alter_sequence(self.name, {"next": Int64(number)}), timeout)


def _check_page(page_rows: int, limit: int | None) -> None:
    if page_rows < 0 or (limit is not None and limit < 0):
        raise UsageError("a number of rows is not below 0")


def _onward(rows: Rows, after: KeyLike | None, reverse: bool) -> Key | None:
    """The key behind which the next page begins; None after the last. A server that goes in circles is told so."""
    mark = rows.more
    if mark is None:
        return None
    before = None if after is None else Key.of(after)
    onward = before is None or (isinstance(mark, Key) and (mark < before if reverse else mark > before))
    if not isinstance(mark, Key) or not onward or mark != rows.rows[-1].key:
        raise ProtocolError("the server's page does not lead on from the one before")
    return mark
