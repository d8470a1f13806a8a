"""A native thread that watches the hub: names the handler that holds it, and ends the process.

A C function of Lua, or a Python module of the app, can hold the hub where no hook reaches it: no
heartbeat, no other handler, no stop. Attempts are counted at delivery, so a message that does
this again and again goes to its dead-letter queue after the process was restarted from outside.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import time
from collections import deque
from types import FrameType

import gevent
from gevent.monkey import get_original

from wippy_lua.call import Call
from wippy_lua.log import Log
from wippy_lua.lua.runtime import VM
from wippy_lua.queue.tally import Histogram

BEAT_SECONDS = 0.25
LONGEST_LOOK = 2 * BEAT_SECONDS  #: between two looks; more is a process that did not run
WARN_SECONDS = 1.0  #: a hub that stands still for so long gets a line in the log
RECENT_BEATS = 40  #: ten seconds, in which a delay counts as recent
EXIT_STATUS = 70  #: "internal software error" of sysexits.h

_start_thread = get_original("_thread", "start_new_thread")
_get_ident = get_original("_thread", "get_ident")
_sleep = get_original("time", "sleep")


class HubDelays:
    """How late the hub came to its heartbeats, in seconds: what everything in it had to wait."""

    def __init__(self) -> None:
        self.histogram = Histogram()
        self._recent: deque[float] = deque(maxlen=RECENT_BEATS)

    def add(self, seconds: float) -> None:
        late = max(seconds, 0.0)
        self.histogram.add(late)
        self._recent.append(late)

    @property
    def recent(self) -> float:
        """The longest of the last ten seconds."""
        return max(self._recent, default=0.0)


class Stall:
    """How long the hub has stood still while its process ran.

    A process that was stopped as a whole (SIGSTOP, a frozen container) has not stalled: its time
    counts as far as somebody could look.
    """

    def __init__(self) -> None:
        self.beat = self._looked_at = self._seconds = 0.0

    def look(self, beat: float, now: float) -> float:
        """Returns the seconds since the hub's last beat, if looked for each BEAT_SECONDS."""
        since = now - beat if beat != self.beat else now - self._looked_at
        seen = min(since, LONGEST_LOOK)
        self._seconds = seen if beat != self.beat else self._seconds + seen
        self.beat, self._looked_at = beat, now
        return self._seconds


class Watchdog:
    """Watches the hub of the thread that starts it.

    A hub that stands still for `limit` seconds ends the process; 0 never does.
    """

    def __init__(self, limit: float, log: Log) -> None:
        self._limit = limit
        self._log = log.bind(logger="watchdog")
        self._beat = time.monotonic()
        self.delays = HubDelays()
        self._heart: gevent.Greenlet[[], None] | None = None
        self._running = False

    def start(self) -> None:
        """Starts the heartbeat and the thread; quiet when they run."""
        if self._running:
            return
        self._running = True
        self._beat = time.monotonic()
        self._heart = gevent.spawn(self._keep_beating)
        _start_thread(self._watch, (_get_ident(),))

    def stop(self) -> None:
        """Stops both; quiet when never started."""
        self._running = False
        if self._heart is not None:
            self._heart.kill()
            self._heart = None

    def _keep_beating(self) -> None:
        loop = gevent.get_hub().loop
        while True:
            # It counts from its own date, which is as old as its present turn.
            loop.update_now()
            gevent.sleep(BEAT_SECONDS)
            now = time.monotonic()
            self.delays.add(now - self._beat - BEAT_SECONDS)
            self._beat = now

    def _watch(self, thread: int) -> None:
        warned_at, stall = 0.0, Stall()
        while self._running:
            _sleep(BEAT_SECONDS)
            stalled = stall.look(self._beat, time.monotonic())
            if self._limit and stalled > self._limit:
                self._end(thread, stalled)
            elif stalled > WARN_SECONDS and stall.beat != warned_at:
                warned_at = stall.beat
                self._log.warning("hub stands still", seconds=round(stalled, 1), **_holder(thread))

    def _end(self, thread: int, stalled: float) -> None:
        self._log.error(
            "hub stood still past stall_limit: ending the process",
            seconds=round(stalled, 1),
            **_holder(thread),
        )
        faulthandler.dump_traceback(file=sys.__stderr__ or 2, all_threads=True)
        os._exit(EXIT_STATUS)


def _holder(thread: int) -> dict[str, object]:
    """Returns which call the watched thread is in, by its Python frames."""
    frame: FrameType | None = sys._current_frames().get(thread)  # noqa: SLF001 - the documented way
    while frame is not None:
        call = frame.f_locals.get("call")
        if (
            frame.f_code.co_name == "_run"
            and isinstance(frame.f_locals.get("self"), VM)
            and isinstance(call, Call)
        ):
            message = call.delivery.message.id if call.delivery is not None else ""
            return {"function": call.function, "consumer": call.consumer, "message_id": message}
        frame = frame.f_back
    return {"function": ""}
