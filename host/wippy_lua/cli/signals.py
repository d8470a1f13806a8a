"""SIGINT and SIGTERM: the first asks for a stop, the second ends the process at once.

A native thread reads them from Python's wake-up pipe, so that the second one works whatever holds
the hub, a C function of Lua included.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import gevent
from gevent.monkey import get_original

from wippy_lua.cli.report import Notes

SIGNALS = (signal.SIGINT, signal.SIGTERM)

#: Seconds in which two signals are one: timeout(1) and others signal a process and its group.
ECHO_SECONDS = 0.05

_start_thread = get_original("_thread", "start_new_thread")


@dataclass(frozen=True, slots=True)
class _Stop:
    """How to begin a stop in the hub, and where to say so."""

    schedule: Callable[[Callable[[], None]], object]
    begin: Callable[[], None]
    notes: Notes


class Signals:
    """What the process does about signals; before `stop_with` any of them ends it quietly."""

    def __init__(self) -> None:
        self._stop: _Stop | None = None
        self._first_at: float | None = None

    def watch(self) -> None:
        """Starts the thread; call it on the main thread, which alone may set handlers."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        for each in SIGNALS:
            signal.signal(each, _leave_to_thread)
        _start_thread(self._read, (reading,))

    def stop_with(self, stop: Callable[[], None], notes: Notes) -> None:
        """Calls `stop` in the hub of the calling thread on the first signal; it must not block."""
        self._stop = _Stop(gevent.get_hub().loop.run_callback_threadsafe, stop, notes)

    def _read(self, pipe: int) -> None:
        while True:
            for number in os.read(pipe, 64):
                if number in SIGNALS:
                    self._arrived(signal.Signals(number))

    def _arrived(self, signum: signal.Signals) -> None:
        stop, now = self._stop, time.monotonic()
        if stop is None:
            os._exit(128 + signum)
        if self._first_at is None:
            self._first_at = now
            stop.notes.info(f"{signum.name}: stopping; a second signal exits at once")
            stop.schedule(stop.begin)
        elif now - self._first_at > ECHO_SECONDS:
            stop.notes.error(f"second signal ({signum.name}): exiting at once")
            os._exit(128 + signum)


def _leave_to_thread(*_signal: object) -> None:
    """Takes the place of the default action; the wake-up pipe has the number."""
