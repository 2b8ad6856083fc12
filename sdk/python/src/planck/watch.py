"""What changes in stores, as it happens; and their documents first, where that is wanted.

What must stay true: each change comes once and none is left out, whatever connection it comes by: what is
asked for next is behind what was given, by the token of the server. Documents of a snapshot come whole, and
the changes behind that snapshot after them; it is not begun before the server has made it durable.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Union

from . import calls
from .documents import Document
from .errors import PlanckError, ProtocolError, UsageError
from .packets import Row
from .transaction import Transaction
from .values import Int64, Key
from .waiting import Deadline

if TYPE_CHECKING:
    from .client import Client

Watched = Union[str, Mapping[str, Any]]
"""A store's name, or `{"store": name, "operations", "filter", "parameters", "from", "to", "fields", "before"}`."""


@dataclass(frozen=True)
class Event:
    """A change of a document. `op` is `insert`, `update` or `delete`; the token goes on behind it."""

    lsn: int
    at: int
    last: bool
    time: Any
    store: str
    op: str
    key: Key
    document: Document | None
    before: Document | None
    leaves: bool
    enters: bool
    omitted: bool
    token: str


class Watch(Iterator["Event | Row | None"]):
    """Changes as they come: see `Client.watch`. An error ends no watch: the next one goes on where it was."""

    def __init__(
        self,
        client: Client,
        stores: Iterable[Watched],
        since: str | int | None,
        documents: bool,
        wait: float,
        max_bytes: int,
    ) -> None:
        self._stores = [] if isinstance(stores, (str, Mapping)) else list(stores)
        if not self._stores:
            raise UsageError("a watch is of a list of stores")
        if documents and since is not None:
            raise UsageError("a watch begins with the documents, or since a place")
        self._client = client
        self._since = since
        self._documents = documents
        self._wait = wait
        self._max_bytes = max_bytes
        self._rows: Generator[Row, None, None] | None = None
        self._page: list[Event] = []
        self._end: str | None = None

    @property
    def token(self) -> str | None:
        """The place behind what was given last. None before the first page, and while documents come."""
        return self._since if isinstance(self._since, str) and not self._documents else None

    def begin_anew(self) -> None:
        """Begins with the documents: after `Status.WATCH_GAP` and `Status.WATCH_AHEAD`."""
        self.close()
        self._documents, self._since = True, None

    def close(self) -> None:
        """Lets go of the connection that documents come by."""
        rows, self._rows = self._rows, None
        self._page, self._end = [], None
        if rows is not None:
            rows.close()

    def __iter__(self) -> Watch:
        return self

    def __next__(self) -> Event | Row | None:
        if self._documents:
            return self._document()
        while True:
            if self._page:
                event = self._page.pop(0)
                self._since = event.token
                return event
            if self._end is not None:
                self._since, self._end = self._end, None
            self._end, _, self._page = self._ask(self._wait)

    def _document(self) -> Row | None:
        if self._rows is None:
            self._rows = self._snapshot()
        try:
            return next(self._rows)
        except StopIteration:
            self._rows, self._documents = None, False
            return None
        except BaseException:
            self._rows = None
            raise

    def _snapshot(self) -> Generator[Row, None, None]:
        client = self._client
        seconds = client._timeout
        with client._pool.lend(Deadline(seconds)) as connection:
            begun = connection.call(calls.begin_snapshot(), Deadline(seconds), None)
            transaction = Transaction(connection, int(begun["transaction"]), seconds)
            try:
                self._since = int(begun["lsn"])
                # What it shows is durable before anybody sees it.
                while self._ask(1.0)[1] < self._since:
                    pass
                for store in self._stores:
                    text, parameters = _query(store)
                    with transaction.query(text, parameters) as result:
                        yield from result
            finally:
                with contextlib.suppress(PlanckError):
                    transaction.end(False)

    def _ask(self, wait: float) -> tuple[str, int, list[Event]]:
        what: dict[str, Any] = {"stores": self._stores}
        if self._since is not None:
            what["since"] = self._since if isinstance(self._since, str) else Int64(self._since)
        what["max_wait_ms"] = Int64(int(wait * 1000))
        what["max_bytes"] = Int64(self._max_bytes)
        seconds = self._client._timeout
        page = self._client.run(calls.watch(what), None if seconds is None else seconds + wait)
        try:
            end = str(page["next"])
            return end, int(page["durable"]), [_event(event, end) for event in page["events"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError(f"the answer to a watch is none: {error}") from error


def _event(event: Document, end: str) -> Event:
    log, stores, _, _ = end.split(".")
    lsn, at, last = int(event["lsn"]), int(event["at"]), bool(event["last"])
    return Event(
        lsn,
        at,
        last,
        event["time"],
        str(event["store"]),
        str(event["op"]),
        Key.of(event["key"]),
        event.get("document"),
        event.get("before"),
        bool(event.get("leaves", False)),
        bool(event.get("enters", False)),
        bool(event.get("omitted", False)),
        f"{log}.{stores}.{lsn}.{0 if last else at}",
    )


def _query(store: Watched) -> tuple[str, Mapping[str, Any] | None]:
    """The query that gives the documents of what is watched, whole."""
    if isinstance(store, str):
        return store, None
    text = str(store["store"])
    if "filter" in store:
        text += f".filter({store['filter']})"
    if "from" in store:
        text += f".filter(key >= '{store['from']}')"
    if "to" in store:
        text += f".filter(key <= '{store['to']}')"
    return text, store.get("parameters")
