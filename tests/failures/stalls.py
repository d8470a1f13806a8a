"""How long a hub keeps others waiting, beside an idle process that shows what the machine does.

`python -m tests.failures.stalls` is that process: it measures until its standard input ends, and
writes down what it saw.
"""

from __future__ import annotations

import subprocess
import sys
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import gevent

#: Seconds between two moments at which the hub should turn to the monitor; less is not late.
BEAT_SECONDS = 0.005
ROOT = Path(__file__).parents[2]
END_SECONDS = 10.0
COUNT_BYTES = 8


class StallMonitor:
    """Measures, while entered, how late the hub of the calling thread is.

    A stall counts for each beat that it swallowed, so that shares are shares of time. With
    `control` an idle process measures the same beside it.
    """

    def __init__(self, *, control: bool = True) -> None:
        self._has_control = control
        self._control: subprocess.Popen[bytes] | None = None
        self._beats: gevent.Greenlet[[float], None] | None = None
        #: Seconds of lateness of the beats that were late, here and in the idle process; those in
        #: time are only counted, so that watching for an hour takes no memory.
        self.delays = array("d")
        self.idle_delays = array("d")
        self.in_time = self.idle_in_time = 0

    def __enter__(self) -> Self:
        if self._has_control:
            self._control = subprocess.Popen(
                [sys.executable, "-m", __name__],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        self._beats = gevent.spawn(self._beat, time.monotonic() + BEAT_SECONDS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._beats is not None:
            self._beats.kill()
        if self._control is not None:
            written, _ = self._control.communicate(timeout=END_SECONDS)
            self.idle_in_time = int.from_bytes(written[:COUNT_BYTES])
            self.idle_delays.frombytes(written[COUNT_BYTES:])

    def late(self, share: float) -> float:
        """Returns the seconds of lateness that this share of all beats does not exceed."""
        return _percentile(self.in_time, self.delays, share)

    def idle_late(self, share: float) -> float:
        """Returns the same of the idle process, 0 without one."""
        return _percentile(self.idle_in_time, self.idle_delays, share)

    def excess(self, share: float) -> float:
        """Returns by how many seconds this hub is later than the idle process's, 0 at least."""
        return max(0.0, self.late(share) - self.idle_late(share))

    def _beat(self, due: float) -> None:
        while True:
            gevent.sleep(max(0.0, due - time.monotonic()))
            now = time.monotonic()
            while due <= now:
                if now - due < BEAT_SECONDS:
                    self.in_time += 1
                else:
                    self.delays.append(now - due)
                due += BEAT_SECONDS


def percentile(delays: Sequence[float], share: float) -> float:
    """Returns the value that this share of all does not exceed, 0 when there are none."""
    if not delays:
        return 0.0
    return sorted(delays)[min(len(delays) - 1, int(len(delays) * share))]


def _percentile(in_time: int, delays: Sequence[float], share: float) -> float:
    late = int((in_time + len(delays)) * share) - in_time
    return sorted(delays)[min(late, len(delays) - 1)] if late >= 0 and delays else 0.0


def _measure_alone() -> None:
    with StallMonitor(control=False) as monitor:
        gevent.get_hub().threadpool.apply(sys.stdin.buffer.read)
    sys.stdout.buffer.write(monitor.in_time.to_bytes(COUNT_BYTES))
    sys.stdout.buffer.write(monitor.delays.tobytes())


if __name__ == "__main__":
    _measure_alone()
