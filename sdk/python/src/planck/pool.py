"""A bounded number of connections for any number of threads.

What must stay true: never more connections than allowed, those being opened counted; whoever waits for one
wakes when one is free, when the time is over, when cancelled, and when the pool is closed; a connection with
a fault is not given out; one on which a page was asked for ahead is, but only if no other may be opened.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from .connection import Connection
from .errors import PoolTimeout, UsageError
from .waiting import Cancellation, Deadline, check

_CURSORS = 16
"""Cursors that one session may have by default; a connection with as many is not chosen for another."""


class Pool:
    """Connections that are idle or lent."""

    def __init__(self, size: int, timeout: float | None, connect: Callable[[Deadline], Connection]) -> None:
        self._size = size
        self._timeout = timeout
        self._connect = connect
        self._changed = threading.Condition()
        self._idle: list[Connection] = []
        self._lent: set[Connection] = set()
        self._opening = 0
        self._closed = False

    @contextlib.contextmanager
    def lend(
        self, deadline: Deadline, cancel: Cancellation | None = None, cursor: bool = False
    ) -> Iterator[Connection]:
        """A connection for the time of the block. `cursor` prefers one that has room for another cursor."""
        mark = cancel.attach(self._wake) if cancel is not None else 0
        try:
            connection = self._take(deadline, cancel, cursor)
        finally:
            if cancel is not None:
                cancel.detach(mark)
        try:
            yield connection
        finally:
            self._give_back(connection)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _take(self, deadline: Deadline, cancel: Cancellation | None, cursor: bool) -> Connection:
        wait = deadline.at_most(self._timeout)
        with self._changed:
            while True:
                if self._closed:
                    raise UsageError("the client is closed")
                check(cancel)
                if (connection := self._choose(cursor)) is not None:
                    self._lent.add(connection)
                    return connection
                if len(self._idle) + len(self._lent) + self._opening < self._size:
                    self._opening += 1
                    break
                self._changed.wait(wait.remaining())
                if wait.passed():
                    raise PoolTimeout(f"all {self._size} connections were in use for too long; nothing was sent")
        return self._open(deadline)

    def _choose(self, cursor: bool) -> Connection | None:
        self._idle = [connection for connection in self._idle if connection.alive]
        for at in range(len(self._idle) - 1, -1, -1):
            connection = self._idle[at]
            if connection.quiet and not (cursor and connection.cursors >= _CURSORS):
                return self._idle.pop(at)
        full = len(self._idle) + len(self._lent) + self._opening >= self._size
        return self._idle.pop() if full and self._idle else None

    def _open(self, deadline: Deadline) -> Connection:
        connection = None
        try:
            connection = self._connect(deadline)
        finally:
            with self._changed:
                self._opening -= 1
                closed = self._closed
                if connection is not None and not closed:
                    self._lent.add(connection)
                self._changed.notify()
        if closed:
            connection.close()
            raise UsageError("the client is closed")
        return connection

    def _give_back(self, connection: Connection) -> None:
        with self._changed:
            self._lent.discard(connection)
            keep = connection.alive and not self._closed
            if keep:
                self._idle.append(connection)
            self._changed.notify()
        if not keep:
            connection.close()

    def close(self) -> None:
        """Closes all connections, the lent ones too: what is in flight raises `ConnectionLost`."""
        with self._changed:
            self._closed = True
            connections = [*self._idle, *self._lent]
            self._idle.clear()
            self._changed.notify_all()
        for connection in connections:
            connection.close("the client was closed")
