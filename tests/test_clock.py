"""Both clocks: the real one on gevent's hub, and the one that tests move."""

from __future__ import annotations

import time
from functools import partial

import gevent
import pytest
from gevent.event import Event

from wippy_lua.clock import Clock, SystemClock
from wippy_lua.testing import VirtualClock


def test_the_system_clock_tells_the_time_and_runs_callbacks() -> None:
    clock: Clock = SystemClock()
    ran = Event()
    clock.call_later(0.01, ran.set)
    assert ran.wait(5)
    assert clock.time() == pytest.approx(time.time(), abs=5)


def test_a_callback_is_not_early_when_its_greenlet_computed_before() -> None:
    clock = SystemClock()
    clock.sleep(0.001)
    computed = clock.monotonic() + 0.02
    while clock.monotonic() < computed:
        pass
    before = clock.monotonic()
    ran = Event()
    clock.call_later(0.03, ran.set)
    assert ran.wait(5)
    # The loop's clock and ours may differ by a rounding.
    assert clock.monotonic() >= before + 0.029


def test_a_cancelled_callback_of_the_system_clock_does_not_run() -> None:
    clock = SystemClock()
    ran: list[str] = []
    last = Event()
    clock.call_later(0.001, lambda: ran.append("cancelled")).cancel()
    clock.call_later(0.01, last.set)
    assert last.wait(5)
    assert ran == []


def test_virtual_time_passes_only_in_advance() -> None:
    clock = VirtualClock(time=100.0)
    start = clock.monotonic()
    clock.advance(2.5)
    assert (clock.time(), clock.monotonic() - start) == (102.5, 2.5)


def test_callbacks_run_in_the_order_of_their_times_and_see_them() -> None:
    clock = VirtualClock(time=0.0)
    seen: list[tuple[str, float]] = []

    def note(name: str) -> None:
        seen.append((name, clock.time()))

    for name, seconds in (("c", 3.0), ("a", 1.0), ("b", 1.0), ("later", 9.0)):
        clock.call_later(seconds, partial(note, name))
    clock.advance(5.0)
    assert seen == [("a", 1.0), ("b", 1.0), ("c", 3.0)]


def test_a_callback_that_sets_another_is_followed_in_one_advance() -> None:
    clock = VirtualClock(time=0.0)
    seen: list[float] = []

    def again() -> None:
        clock.call_later(1.0, lambda: seen.append(clock.time()))

    clock.call_later(1.0, again)
    clock.advance(2.0)
    assert seen == [2.0]


def test_decimal_fractions_that_add_up_are_due() -> None:
    clock = VirtualClock()
    ran = Event()
    clock.call_later(0.3, ran.set)
    for _ in range(3):
        clock.advance(0.1)
    assert ran.is_set()


def test_a_sleeping_greenlet_wakes_when_its_time_comes() -> None:
    clock = VirtualClock()
    sleeper = gevent.spawn(clock.sleep, 10.0)
    clock.advance(9.0)
    assert not sleeper.ready()
    clock.advance(1.0)
    assert sleeper.ready()


def test_a_cancelled_virtual_callback_does_not_run() -> None:
    clock = VirtualClock()
    ran: list[str] = []
    clock.call_later(1.0, lambda: ran.append("cancelled")).cancel()
    clock.advance(2.0)
    assert ran == []


def test_the_error_of_a_callback_reaches_the_test() -> None:
    clock = VirtualClock()

    def fail() -> None:
        raise ValueError("from the callback")

    clock.call_later(1.0, fail)
    with pytest.raises(ValueError, match="from the callback"):
        clock.advance(1.0)
