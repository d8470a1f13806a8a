"""SIGINT and SIGTERM: the first asks for a stop, the second ends the process at once.

A native thread reads them from Python's wake-up pipe, so that the second one works whatever holds
the hub, a C function of Lua included.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import gevent
from gevent.monkey import get_original

SIGNALS = (signal.SIGINT, signal.SIGTERM)

#: Seconds in which two signals are one: timeout(1) and others signal a process and its group.
ECHO_SECONDS = 0.05

_start_thread = get_original("_thread", "start_new_thread")


class Signals:
    """What the process does about signals; before `stop_with` any of them ends it quietly."""

    def __init__(self) -> None:
        self._stop: Callable[[signal.Signals], None] | None = None
        self._farewell: Callable[[signal.Signals], None] | None = None
        self._schedule: Callable[[Callable[[], None]], object] | None = None
        self._first_at: float | None = None

    def watch(self) -> None:
        """Starts the thread; call it on the main thread, which alone may set handlers."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for each in SIGNALS:
            signal.signal(each, _leave_to_thread)
        _start_thread(self._read, (reading,))

    def stop_with(
        self,
        stop: Callable[[signal.Signals], None],
        farewell: Callable[[signal.Signals], None],
    ) -> None:
        """Calls `stop` in the hub, which must not block, on the first signal.

        On the second, `farewell` is called on another native thread before the process ends.
        """
        self._schedule = gevent.get_hub().loop.run_callback_threadsafe
        self._farewell = farewell
        self._stop = stop

    def _read(self, pipe: int) -> None:
        while True:
            for number in os.read(pipe, 64):
                if number in SIGNALS:
                    self._arrived(signal.Signals(number))

    def _arrived(self, signum: signal.Signals) -> None:
        stop, schedule, farewell = self._stop, self._schedule, self._farewell
        if stop is None or schedule is None or farewell is None:
            os._exit(128 + signum)
        now = time.monotonic()
        if self._first_at is None:
            self._first_at = now
            schedule(lambda: stop(signum))
        elif now - self._first_at > ECHO_SECONDS:
            farewell(signum)
            os._exit(128 + signum)


def _leave_to_thread(*_signal: object) -> None:
    """Takes the place of the default action; the wake-up pipe has the number."""
