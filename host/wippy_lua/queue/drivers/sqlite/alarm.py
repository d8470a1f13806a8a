"""One timer for many times: it rings at the earliest that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final

from wippy_lua.clock import Clock, Timer

#: Seconds between two rings, at least: a flood of times shares them.
GRAIN: Final = 0.001


class Alarm:
    """Rings once at the earliest of the times that were set since it last rang.

    `now` is the scale of the times: the clock's `time` or its `monotonic`.
    """

    def __init__(self, clock: Clock, now: Callable[[], float], ring: Callable[[], None]) -> None:
        self._clock = clock
        self._now = now
        self._ring = ring
        self._timer: Timer | None = None
        self._at = inf

    def set(self, when: float) -> None:
        """Asks for a ring at `when`; `inf` is never."""
        if when >= self._at:
            return
        self.cancel()
        self._at = when
        self._timer = self._clock.call_later(max(when - self._now(), GRAIN), self._on_time)

    def cancel(self) -> None:
        """Forgets all times; quiet when there are none."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._at = inf

    def _on_time(self) -> None:
        self._timer = None
        self._at = inf
        self._ring()
