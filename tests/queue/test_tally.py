"""What is counted of a consumer's work."""

from __future__ import annotations

from time import monotonic

import pytest

from wippy_lua.errors import WippyError
from wippy_lua.queue.message import Delivery, Message
from wippy_lua.queue.settle import Cancelled, Failure, Nacked
from wippy_lua.queue.tally import BOUNDS, WAIT_INTERVAL, Histogram, Tally

NOW = 1_000.0


def delivery(attempt: int = 1, published_at: float = NOW - 2.0) -> Delivery:
    return Delivery(Message("m", b"", "", {}, published_at), attempt)


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [
        (0.0, 0),
        (BOUNDS[0], 0),
        (BOUNDS[0] * 1.001, 1),
        (BOUNDS[1], 1),
        (BOUNDS[-1], len(BOUNDS) - 1),
        (BOUNDS[-1] + 1, len(BOUNDS)),
    ],
)
def test_a_bucket_holds_what_is_up_to_its_bound(seconds: float, bucket: int) -> None:
    histogram = Histogram()
    histogram.add(seconds)
    assert histogram.counts.index(1) == bucket
    assert (histogram.count, histogram.total) == (1, seconds)


def test_bounds_grow() -> None:
    assert list(BOUNDS) == sorted(set(BOUNDS))


def test_a_call_falls_into_the_bucket_of_its_duration() -> None:
    tally = Tally(lambda: NOW)
    for seconds in (0.0, 0.004, 0.04, 10_000.0):
        tally.ran(delivery(), monotonic() - seconds)
    for bound in (0.001, 0.005, 0.05):
        assert tally.durations.counts[BOUNDS.index(bound)] == 1
    assert tally.durations.counts[-1] == 1
    assert tally.durations.total == pytest.approx(10_000.044, abs=0.01)


def test_the_wait_ends_where_the_call_begins() -> None:
    tally = Tally(lambda: NOW)
    tally.ran(delivery(published_at=NOW - 2.0), monotonic() - 0.5)
    assert tally.waits.total == pytest.approx(1.5, abs=0.01)


def test_a_clock_that_is_ahead_of_ours_is_no_wait() -> None:
    tally = Tally(lambda: NOW)
    tally.ran(delivery(published_at=NOW + 60.0), monotonic())
    assert (tally.waits.count, tally.waits.total) == (1, 0.0)


def test_waits_are_asked_of_one_message_in_an_interval() -> None:
    tally = Tally(lambda: NOW)
    began = monotonic()
    for _ in range(100):
        tally.ran(delivery(), monotonic())
    most = (monotonic() - began) / WAIT_INTERVAL + 1
    assert 1 <= tally.waits.count <= most
    assert tally.durations.count == 100


def test_later_attempts_are_not_asked_how_long_they_waited() -> None:
    tally = Tally(lambda: NOW)
    tally.ran(delivery(attempt=2), monotonic())
    assert (tally.waits.count, tally.durations.count) == (0, 1)


def test_outcomes_are_counted_by_their_name() -> None:
    tally = Tally(lambda: NOW)
    for outcome in (Failure(WippyError("no")), Failure(WippyError("no")), Nacked(), Cancelled()):
        tally.failed(outcome)
    assert tally.others == {"failure": 2, "nacked": 1, "cancelled": 1}
