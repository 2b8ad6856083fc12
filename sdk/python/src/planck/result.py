"""Queries, and their results page by page.

What must stay true: at most one page is asked for ahead of the one that is read; pages come over the
connection that the query went over, since a cursor belongs to its session; a result that is not read to
its end gives its cursor back; a query is sent again after a broken connection only if its text can only read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Union

from .connection import Call, Connection, Exchange
from .documents import Document
from .errors import ConnectionLost, DeadlineExceeded, ProtocolError, ServerError, UsageError
from .packets import Answer, Count, Empty, Keys, OneKey, Op, Reply, Row, Rows, encode_request
from .values import Key
from .waiting import Cancellation, Deadline

Parameters = Union[Sequence[Any], Mapping[str, Any], None]
"""The values of `$1`, `$2` and on: in their order, or under the names "1", "2" and on."""

PAGE_BYTES = 1 << 20
"""What a page has about, if the caller does not say otherwise."""

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|`[^`]*`', re.DOTALL)
_TOKEN = re.compile(r"\w+|[^\w \t\r\n]")
_READS = frozenset(
    "filter all get lookup lookupOne groupBy distinct aggregate having orderBy skip limit pluck count explain "
    "sum avg min max date decimal objectId uuid binary and or not".split()
)


def only_reads(text: str) -> bool:
    """Whether a query surely changes nothing: each word before a parenthesis is known as one that reads.

    In doubt the answer is no, which only means that the query is not sent again by itself.
    """
    tokens = _TOKEN.findall(_QUOTED.sub(lambda quoted: quoted.group()[0], text))
    return all(
        tokens[at - 1] == "(" or tokens[at - 1] in _READS for at, token in enumerate(tokens) if at and token == "("
    )


def parameters_of(parameters: Parameters) -> Document | None:
    """The document of parameters."""
    if parameters is None:
        return None
    if isinstance(parameters, Mapping):
        return dict(parameters)
    if isinstance(parameters, (str, bytes, bytearray)):
        raise UsageError("parameters are a list of values, or a mapping of their numbers to values")
    return {str(at): value for at, value in enumerate(parameters, 1)}


class Result:
    """What a query answered: rows to iterate over, or one `value`.

    Iterating gives `Row`s and fetches pages as they are needed, the next one while the one before is read.
    All rows are of the moment of the query. Close it (or use `with`) if it is not read to its end.
    """

    def __init__(
        self, connection: Connection, reply: Reply, timeout: float | None, cancel: Cancellation | None, ahead: bool
    ) -> None:
        self._connection = connection
        self._timeout = timeout
        self._cancel = cancel
        self._ahead = ahead
        self._cursor: int | None = None
        self._next: Exchange | None = None
        self._page: Iterator[Row] = iter(())
        self._value: Key | int | Document | None = None
        self.has_rows = isinstance(reply, Rows)
        if isinstance(reply, Rows):
            self._take(reply)
        elif isinstance(reply, OneKey):
            self._value = reply.key
        elif isinstance(reply, Count):
            self._value = reply.count
        elif isinstance(reply, Answer):
            self._value = reply.document
        elif isinstance(reply, (Empty, Keys)):
            raise ProtocolError("a query was answered with what no query answers")

    @property
    def value(self) -> Key | int | Document:
        """The answer of a query that gives no rows: a count, the key of an insert, a plan."""
        if self._value is None:
            raise UsageError("this query gives rows: iterate over its result")
        return self._value

    @property
    def count(self) -> int:
        """The answer of `count()`, or how many documents a change changed."""
        if not isinstance(self._value, int):
            raise UsageError("this query gives no count")
        return self._value

    def __iter__(self) -> Iterator[Row]:
        if not self.has_rows:
            raise UsageError("this query gives one value and no rows: use .value")
        return self

    def __next__(self) -> Row:
        while True:
            for row in self._page:
                return row
            if self._cursor is None:
                raise StopIteration
            self._fetch()

    def all(self) -> list[Row]:
        """All rows that are left."""
        return list(self)

    def documents(self) -> list[Document]:
        """The documents of all rows that are left."""
        return [row.document for row in self]

    def _take(self, rows: Rows) -> None:
        # Only the last page may be empty.
        if isinstance(rows.more, Key) or (rows.more is not None and not rows.rows):
            self._drop()
            raise ProtocolError("a page of a query does not lead on")
        if rows.more is None:
            self._forget()
        else:
            if self._cursor is None:
                self._connection.count_cursor(1)
            self._cursor = rows.more
        self._page = iter(rows.rows)
        if self._ahead and self._cursor is not None:
            try:
                self._next = self._ask()
            except (ConnectionLost, DeadlineExceeded, ServerError):
                # What is here can be read; the fault is told when the next page is wanted.
                self._next = None

    def _ask(self) -> Exchange:
        return self._connection.submit(self._fetch_call(), Deadline(self._timeout), self._cancel)

    def _fetch_call(self) -> Call[Rows]:
        return Call(Op.FETCH, encode_request(Op.FETCH, {"cursor": self._cursor}), False, _page_of)

    def _fetch(self) -> None:
        exchange, self._next = self._next, None
        try:
            if exchange is None:
                exchange = self._ask()
        except Exception:
            # It was not sent, so the cursor is there still.
            if self._drop():
                self._connection.close_dropped()
            raise
        mark = self._cancel.attach(exchange.cancel) if self._cancel is not None else 0
        try:
            rows = self._connection.finish(self._fetch_call(), exchange)
        except Exception:
            # An error of a Fetch ends the cursor, and so does the end of the connection.
            self._forget()
            raise
        finally:
            if self._cancel is not None:
                self._cancel.detach(mark)
        self._take(rows)

    def _forget(self) -> None:
        if self._cursor is not None:
            self._cursor = None
            self._connection.count_cursor(-1)

    def close(self) -> None:
        """Gives the cursor back. What was not read is not to be had any more."""
        self._page = iter(())
        exchange, self._next = self._next, None
        if exchange is not None and not exchange.done:
            exchange.cancel()
        if self._drop():
            self._connection.close_dropped()

    def _drop(self) -> bool:
        cursor, self._cursor = self._cursor, None
        if cursor is None or not self._connection.alive:
            return False
        self._connection.drop_cursor(cursor)
        return True

    def __enter__(self) -> Result:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_cursor", None) is not None:
            self._drop()


def _page_of(reply: Reply, connection: Connection) -> Rows:
    if not isinstance(reply, Rows):
        raise ProtocolError("a Fetch was answered with something else than rows")
    return reply


def stream(
    text: str,
    parameters: Parameters,
    page_rows: int,
    page_bytes: int,
    timeout: float | None,
    cancel: Cancellation | None,
    ahead: bool,
) -> Call[Result]:
    """A query whose rows come in pages of a size that the caller chose."""
    fields = {"rows": page_rows, "bytes": page_bytes, "text": text, "parameters": parameters_of(parameters)}

    def take(reply: Reply, connection: Connection) -> Result:
        return Result(connection, reply, timeout, cancel, ahead)

    return Call(Op.STREAM, encode_request(Op.STREAM, fields), only_reads(text), take)


def query(text: str, parameters: Parameters, timeout: float | None) -> Call[Result]:
    """A query whose rows come in as few pages as the server can make of them."""
    fields = {"text": text, "parameters": parameters_of(parameters)}

    def take(reply: Reply, connection: Connection) -> Result:
        return Result(connection, reply, timeout, None, False)

    return Call(Op.QUERY, encode_request(Op.QUERY, fields), only_reads(text), take)
