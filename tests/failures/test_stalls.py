"""The stall monitor itself: it must see a stall, or a green run would mean nothing."""

from __future__ import annotations

import time

import gevent
from gevent.monkey import get_original

from tests.failures.stalls import BEAT_SECONDS, StallMonitor

STALL_SECONDS = 0.2


def test_a_stall_counts_for_each_beat_that_it_swallowed() -> None:
    with StallMonitor(control=False) as monitor:
        gevent.sleep(0.1)
        get_original("time", "sleep")(STALL_SECONDS)
        gevent.sleep(0.1)
    late = [delay for delay in monitor.delays if delay > STALL_SECONDS / 2]
    assert STALL_SECONDS - BEAT_SECONDS <= monitor.late(1.0) < 2 * STALL_SECONDS
    assert len(late) >= STALL_SECONDS / BEAT_SECONDS / 2 - 2


def test_the_idle_process_beside_it_has_no_stall_of_this_one() -> None:
    with StallMonitor() as monitor:
        begun = time.monotonic()
        get_original("time", "sleep")(3 * STALL_SECONDS)
        gevent.sleep(3 * STALL_SECONDS)
        seconds = time.monotonic() - begun
    beats = monitor.idle_in_time + len(monitor.idle_delays)
    assert beats >= seconds / BEAT_SECONDS / 4  # it took a while to start
    # A third of all beats was at least so late; an idle process never is, on a busy machine either.
    assert monitor.excess(0.66) > STALL_SECONDS / 2
    assert StallMonitor(control=False).excess(0.999) == 0.0
