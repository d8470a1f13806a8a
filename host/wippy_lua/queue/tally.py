"""What a consumer has done so far: plain numbers, for whoever comes to read them.

They are counted on the way of every message, where a reading of the clock is dear: so one tells
how long a handler ran, and how long messages waited is asked of some of them only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from time import monotonic
from typing import Final

from wippy_lua.queue.message import Delivery
from wippy_lua.queue.settle import Outcome

#: Upper bounds of a histogram's buckets, in seconds; the last bucket has none.
BOUNDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0),
)
_SHORTEST: Final = BOUNDS[0]

#: Seconds between two messages that are asked how long they waited, at least.
WAIT_INTERVAL: Final = 0.001


class Histogram:
    """Durations by size; `counts` has a number for each of BOUNDS, and one for what is beyond."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        return sum(self.counts)


class Tally:
    """The numbers of one consumer, from when it was made on; `time` gives Unix time."""

    __slots__ = (
        "_next_wait",
        "_time",
        "dead_letters",
        "durations",
        "others",
        "retries",
        "successes",
        "waits",
    )

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._next_wait = 0.0
        self.successes = 0
        #: Outcomes that are no success, by the name of their class in lower case.
        self.others: dict[str, int] = {}
        self.dead_letters = 0
        #: How long handlers ran, of every attempt that reached one.
        self.durations = Histogram()
        #: From the publish to the call, of first attempts: one in a WAIT_INTERVAL at most.
        self.waits = Histogram()
        #: Messages that were given back for another attempt.
        self.retries = 0

    def ran(self, delivery: Delivery, began: float) -> None:
        """Counts a call of the handler that has just ended; `began` is on `time.monotonic`."""
        now = monotonic()
        seconds = now - began
        durations = self.durations
        # Not `add`: a call, and a search for what most handlers are, cost as much as the rest.
        durations.counts[0 if seconds <= _SHORTEST else bisect_left(BOUNDS, seconds)] += 1
        durations.total += seconds
        if now >= self._next_wait:
            self._next_wait = now + WAIT_INTERVAL
            if delivery.attempt == 1:
                # The publisher's clock may be ahead of ours.
                self.waits.add(max(self._time() - seconds - delivery.message.published_at, 0.0))

    def failed(self, outcome: Outcome) -> None:
        """Counts an outcome that is no success."""
        name = type(outcome).__name__.lower()
        self.others[name] = self.others.get(name, 0) + 1
