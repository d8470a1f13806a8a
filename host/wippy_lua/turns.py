"""Turns of the hub: what has run for long lets others run."""

from __future__ import annotations

import time

import gevent
from gevent.hub import Waiter

#: Seconds that the hub may be held before others get their turn.
SLICE = 0.002


class Turns:
    """The turns of the hub of the thread that makes this.

    The slice is shared by all that ran since the loop's last turn, which the loop's own date tells.
    """

    __slots__ = ("_dated", "_hub")

    def __init__(self) -> None:
        self._hub = gevent.get_hub()
        self._dated = self._hub.loop.now

    def is_over(self) -> bool:
        """Tells whether others should run now."""
        return abs(time.time() - self._dated()) > SLICE

    def give_up(self) -> None:
        """Blocks the greenlet until the loop has looked at timers and sockets."""
        # By a timer, since callbacks, as of `sleep(0)`, have 50 turns before that. Its date is that
        # of the loop's last turn: a new one would hide who has run.
        waiter: Waiter[None] = Waiter(self._hub)
        timer = self._hub.loop.timer(0)
        timer.start(waiter.switch, None, update=False)
        try:
            waiter.get()
        finally:
            timer.stop()
            timer.close()
