"""Time, injected: everything that waits or dates asks a Clock, so that tests can move it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import gevent


class Timer(Protocol):
    """A callback that waits for its time."""

    def cancel(self) -> None:
        """Prevents the callback from running; harmless when it has run."""


class Clock(Protocol):
    """The only source of time for delivery, supervision and stores. All values are seconds."""

    def time(self) -> float:
        """Returns Unix time."""

    def monotonic(self) -> float:
        """Returns a time that never goes back."""

    def sleep(self, seconds: float) -> None:
        """Blocks the calling greenlet."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Runs the callback after `seconds` in a greenlet of its own."""


class SystemClock:
    """The real time, on gevent's hub."""

    # In this order: `time` hides the module for the rest of the class body.
    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)

    def sleep(self, seconds: float) -> None:
        gevent.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        # The loop counts from the time at which this greenlet got its turn, so a timer would come
        # too early by as long as the greenlet has computed.
        gevent.get_hub().loop.update_now()
        return _GreenletTimer(gevent.spawn_later(seconds, callback))


class _GreenletTimer:
    def __init__(self, greenlet: gevent.Greenlet[[], None]) -> None:
        self._greenlet = greenlet

    def cancel(self) -> None:
        self._greenlet.kill(block=False)
