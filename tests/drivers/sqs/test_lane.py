"""The lanes on which the SQS driver gathers batches, with a sender that tests control."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gevent
import pytest

from wippy_lua.clock import SystemClock
from wippy_lua.errors import Kind, WippyError
from wippy_lua.queue.drivers.sqs.lane import BATCH_BYTES, Item, Lane, Result

NEVER = float("inf")


class Wire:
    """Notes each call, and answers with what `answer` makes of it."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.answer: Callable[[list[str]], list[Result]] = lambda names: [None] * len(names)

    def send(self, entries: Sequence[Mapping[str, Any]]) -> list[Result]:
        names = [entry["name"] for entry in entries]
        self.calls.append(names)
        gevent.sleep(0.01)
        return self.answer(names)


class Told(dict[str, Result]):
    """Results by name."""

    def item(self, name: str, deadline: float = NEVER, size: int = 0, key: str = "") -> Item:
        def done(result: Result) -> None:
            assert name not in self, "told twice"
            self[name] = result

        return Item(key or name, {"name": name}, deadline, done, size)

    def wait(self, count: int) -> None:
        with gevent.Timeout(5):
            while len(self) < count:
                gevent.sleep(0.005)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def lane(wire: Wire) -> Lane:
    return Lane(wire.send, 1, SystemClock())


def unavailable() -> WippyError:
    return WippyError("down", kind=Kind.UNAVAILABLE, retryable=True)


def invalid() -> WippyError:
    return WippyError("bad", kind=Kind.INVALID, retryable=False)


def test_what_waits_goes_in_batches_of_ten_and_in_order(lane: Lane, wire: Wire, told: Told) -> None:
    names = [f"{n:02}" for n in range(25)]
    for name in names:
        lane.put(told.item(name))
    told.wait(25)
    assert wire.calls == [names[:10], names[10:20], names[20:]]


def test_a_batch_stays_below_the_limit_of_bytes(lane: Lane, wire: Wire, told: Told) -> None:
    for name in ("a", "b", "c"):
        lane.put(told.item(name, size=BATCH_BYTES // 2))
    told.wait(3)
    assert wire.calls == [["a", "b"], ["c"]]


def test_each_item_gets_its_own_result(lane: Lane, wire: Wire, told: Told) -> None:
    error = invalid()
    wire.answer = lambda names: [error if name == "b" else None for name in names]
    for name in ("a", "b", "c"):
        lane.put(told.item(name))
    told.wait(3)
    assert told == {"a": None, "b": error, "c": None}


def test_what_failed_for_a_while_is_sent_again_and_only_that(
    lane: Lane, wire: Wire, told: Told
) -> None:
    wire.answer = lambda names: [
        unavailable() if name == "b" and len(wire.calls) == 1 else None for name in names
    ]
    for name in ("a", "b", "c"):
        lane.put(told.item(name))
    told.wait(3)
    assert wire.calls == [["a", "b", "c"], ["b"]]
    assert set(told.values()) == {None}


def test_an_item_that_spoils_a_call_fails_alone(lane: Lane, wire: Wire, told: Told) -> None:
    def answer(names: list[str]) -> list[Result]:
        if "bad" in names:
            raise invalid()
        return [None] * len(names)

    wire.answer = answer
    for name in ("a", "bad", "c"):
        lane.put(told.item(name))
    told.wait(3)
    assert [name for name, result in told.items() if result is not None] == ["bad"]


def test_an_item_is_given_up_at_its_deadline_with_the_last_error(
    lane: Lane, wire: Wire, told: Told
) -> None:
    error = unavailable()
    wire.answer = lambda names: [error] * len(names)
    lane.put(told.item("a", deadline=SystemClock.monotonic() + 0.05))
    told.wait(1)
    assert told["a"] is error


def test_a_newer_item_takes_the_place_of_one_that_waits(lane: Lane, wire: Wire, told: Told) -> None:
    lane.put(told.item("old", key="receipt"))
    lane.put(told.item("new", key="receipt"))
    told.wait(1)
    assert wire.calls == [["new"]]


def test_a_retry_does_not_push_out_what_came_since(lane: Lane, wire: Wire, told: Told) -> None:
    wire.answer = lambda names: [unavailable() if name == "old" else None for name in names]
    lane.put(told.item("old", key="receipt"))
    gevent.sleep(0.005)
    lane.put(told.item("new", key="receipt"))
    told.wait(1)
    assert wire.calls == [["old"], ["new"]]


def test_a_wide_lane_sends_full_batches_side_by_side(wire: Wire, told: Told) -> None:
    lane = Lane(wire.send, 3, SystemClock())
    for n in range(40):
        lane.put(told.item(str(n)))
    gevent.sleep(0.005)
    assert [len(call) for call in wire.calls] == [10, 10, 10]
    told.wait(40)


def test_draining_sends_all_and_tries_nothing_twice(lane: Lane, wire: Wire, told: Told) -> None:
    error = unavailable()
    wire.answer = lambda names: [error if name == "a" else None for name in names]
    lane.put(told.item("a"))
    lane.put(told.item("b"))
    lane.drain(5.0)
    assert told == {"a": error, "b": None}


def test_draining_ends_a_pause_between_two_tries(lane: Lane, wire: Wire, told: Told) -> None:
    wire.answer = lambda names: [unavailable()] * len(names)
    lane.put(told.item("a"))
    gevent.sleep(0.5)  # Past some tries, so that the next pause is a long one.
    begin = SystemClock.monotonic()
    lane.drain(5.0)
    assert SystemClock.monotonic() - begin < 0.3
    assert len(told) == 1


def test_draining_gives_up_what_hangs(wire: Wire, told: Told) -> None:
    def hang(names: list[str]) -> list[Result]:
        gevent.sleep(60)
        return [None] * len(names)

    wire.answer = hang
    lane = Lane(wire.send, 1, SystemClock())
    for n in range(11):
        lane.put(told.item(str(n)))
    lane.drain(0.05)
    assert isinstance(told["10"], WippyError)
    assert len(lane) == 0
