"""A clock that stands still until a test moves it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

import gevent
from gevent.event import Event

from wippy_lua.clock import Timer

#: Sums of decimal fractions differ in their last bits; timers that close count as due.
TOLERANCE = 1e-9

#: How often greenlets get a turn before they count as idle: longer chains of wake-ups are rare.
ROUNDS = 10


class VirtualClock:
    """A `Clock` whose time passes only in `advance`."""

    def __init__(self, time: float = 1_700_000_000.0) -> None:
        self._epoch = time
        self._now = 0.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, _VirtualTimer]] = []

    def time(self) -> float:
        return self._epoch + self._now

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            gevent.sleep(0)
            return
        woken = Event()
        timer = self.call_later(seconds, woken.set)
        try:
            woken.wait()
        finally:
            timer.cancel()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        timer = _VirtualTimer(callback)
        when = self._now + max(seconds, 0.0)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Lets time pass: runs what becomes due in order, each time until greenlets are idle.

        Raises the first error of a callback; later ones then wait for the next call.
        """
        target = self._now + seconds
        let_greenlets_run()
        while self._timers and self._timers[0][0] <= target + TOLERANCE:
            when, _, timer = heapq.heappop(self._timers)
            self._now = max(self._now, when)
            timer.run()
        self._now = max(self._now, target)
        let_greenlets_run()


class _VirtualTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self._callback = None

    def run(self) -> None:
        """Runs the callback in a greenlet, for it may wait for this clock."""
        if self._callback is None:
            return
        greenlet = gevent.spawn(self._callback)
        let_greenlets_run()
        if greenlet.exception is not None:
            raise greenlet.exception


def let_greenlets_run() -> None:
    """Gives way until no greenlet has anything to do at once."""
    for _ in range(ROUNDS):
        gevent.sleep(0)
    gevent.idle()
