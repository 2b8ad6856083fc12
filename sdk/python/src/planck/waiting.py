"""Time that a caller gives, and how a caller gives up.

What must stay true: a deadline is one moment however many steps its work has; a cancellation reaches
whoever waits, whether it came before or during the wait.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Final, Union

from .errors import CancelledError, Status, UsageError


class _Default:
    """The time that the client was made with."""

    def __repr__(self) -> str:
        return "DEFAULT"


DEFAULT: Final = _Default()

Timeout = Union[float, None, _Default]
"""Seconds, None for no bound, or what the client was made with."""


class Deadline:
    """A moment after which the caller does not want the answer any more."""

    __slots__ = ("_end",)

    def __init__(self, seconds: float | None) -> None:
        if seconds is not None and not (seconds > 0 and math.isfinite(seconds)):
            raise UsageError("a timeout is a number of seconds above 0, or None")
        self._end = None if seconds is None else time.monotonic() + seconds

    def remaining(self, extra: float = 0.0) -> float | None:
        """Seconds that are left, 0 if none; None without a bound."""
        return None if self._end is None else max(0.0, self._end + extra - time.monotonic())

    def passed(self) -> bool:
        """Whether the moment is over."""
        return self.remaining() == 0.0

    def patience(self) -> int:
        """What a request says of it: milliseconds, at least 1; 0 without a bound."""
        left = self.remaining()
        return 0 if left is None else max(1, math.ceil(left * 1000))

    def later(self, other: Deadline) -> Deadline:
        """The later of the two; one without a bound is the latest."""
        return self if self._end is None or (other._end is not None and other._end <= self._end) else other

    def at_most(self, seconds: float | None) -> Deadline:
        """The earlier of this and so many seconds from now."""
        left = self.remaining()
        if seconds is None or (left is not None and left <= seconds):
            return self
        return Deadline(seconds)


class Cancellation:
    """Ends requests from another thread: give it to them as `cancel=`, and call `cancel()`.

    A request that is cancelled before it was done raises `CancelledError`, and has changed nothing; one
    that was done first gives its result. One that was cancelled stays so: make a new one for new requests.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._next = 0

    def cancel(self) -> None:
        """Cancels what was given this, now and later. May be called from any thread, and again."""
        with self._lock:
            self._event.set()
            callbacks = list(self._callbacks.values())
            self._callbacks.clear()
        for callback in callbacks:
            callback()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._event.is_set()

    def attach(self, callback: Callable[[], object]) -> int:
        """Calls back when cancelled; at once if that has happened. The answer is for `detach`."""
        with self._lock:
            self._next += 1
            number = self._next
            if not self._event.is_set():
                self._callbacks[number] = callback
                return number
        callback()
        return number

    def detach(self, number: int) -> None:
        """Calls back no more."""
        with self._lock:
            self._callbacks.pop(number, None)

    def sleep(self, seconds: float) -> None:
        """Sleeps, and ends early when cancelled."""
        self._event.wait(seconds)


def check(cancel: Cancellation | None) -> None:
    """Raises if it was cancelled before anything was sent."""
    if cancel is not None and cancel.cancelled:
        raise CancelledError(Status.CANCELLED, "cancelled before it was sent; nothing changed")
