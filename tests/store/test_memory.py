"""The memory store, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wippy_lua.clock import Timer
from wippy_lua.errors import Kind, WippyError
from wippy_lua.store.memory import MemoryStore
from wippy_lua.testing import VirtualClock


class CountingClock(VirtualClock):
    """Knows how many timers wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = 0

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        def run() -> None:
            self.waiting -= 1
            callback()

        self.waiting += 1
        return _Counted(self, super().call_later(seconds, run))


class _Counted:
    def __init__(self, clock: CountingClock, timer: Timer) -> None:
        self._clock = clock
        self._timer = timer

    def cancel(self) -> None:
        self._clock.waiting -= 1
        self._timer.cancel()


@pytest.fixture
def clock() -> CountingClock:
    return CountingClock()


def make(clock: VirtualClock, max_size: int = 10, cleanup_interval: float = 60.0) -> MemoryStore:
    return MemoryStore("app:cache", clock, max_size=max_size, cleanup_interval=cleanup_interval)


def test_a_value_stays_until_it_is_deleted(clock: CountingClock) -> None:
    store = make(clock)
    store.set(b"k", b"v")
    clock.advance(1e6)
    assert (store.get(b"k"), store.has(b"k")) == (b"v", True)
    assert store.delete(b"k") is True
    assert (store.get(b"k"), store.has(b"k"), store.delete(b"k")) == (None, False, False)


def test_a_value_is_gone_when_its_time_has_passed(clock: CountingClock) -> None:
    store = make(clock)
    for key in (b"got", b"asked", b"deleted"):
        store.set(key, b"v", 10)
    clock.advance(9.9)
    assert store.get(b"got") == b"v"
    clock.advance(0.1)
    assert (store.get(b"got"), store.has(b"asked"), store.delete(b"deleted")) == (
        None,
        False,
        False,
    )


def test_setting_again_replaces_the_time_to_live(clock: CountingClock) -> None:
    store = make(clock)
    store.set(b"stays", b"1", 5)
    store.set(b"stays", b"2")
    store.set(b"longer", b"1", 5)
    store.set(b"longer", b"2", 50)
    clock.advance(20)
    assert (store.get(b"stays"), store.get(b"longer")) == (b"2", b"2")


def test_a_full_store_refuses_new_keys_and_says_that_a_retry_can_help(clock: CountingClock) -> None:
    store = make(clock, max_size=2)
    store.set(b"a", b"1")
    store.set(b"b", b"1")
    store.set(b"a", b"2")
    with pytest.raises(WippyError, match=r"app:cache.*full.*2 keys") as caught:
        store.set(b"c", b"1")
    assert (caught.value.kind, caught.value.retryable) == (Kind.UNAVAILABLE, True)
    assert (store.get(b"a"), store.get(b"b"), store.get(b"c")) == (b"2", b"1", None)


def test_a_full_store_makes_room_of_what_has_expired(clock: CountingClock) -> None:
    store = make(clock, max_size=2)
    store.set(b"stays", b"1")
    store.set(b"goes", b"1", 5)
    clock.advance(5)
    store.set(b"new", b"1")
    assert len(store) == 2
    assert store.get(b"stays") == b"1"


def test_expired_keys_are_dropped_though_nobody_asks_for_them(clock: CountingClock) -> None:
    store = make(clock, cleanup_interval=60)
    store.set(b"a", b"1", 5)
    store.set(b"b", b"1")
    clock.advance(59)
    assert len(store) == 2
    clock.advance(1)
    assert len(store) == 1


def test_a_timer_waits_only_while_something_can_expire(clock: CountingClock) -> None:
    store = make(clock, cleanup_interval=60)
    store.set(b"for ever", b"1")
    assert clock.waiting == 0
    store.set(b"a", b"1", 100)
    store.set(b"b", b"1", 5)
    assert clock.waiting == 1
    clock.advance(60)
    assert clock.waiting == 1
    clock.advance(60)
    assert (clock.waiting, len(store)) == (0, 1)


def test_a_deleted_key_does_not_keep_the_timer(clock: CountingClock) -> None:
    store = make(clock, cleanup_interval=60)
    store.set(b"a", b"1", 10_000)
    store.delete(b"a")
    clock.advance(60)
    assert clock.waiting == 0


def test_no_interval_is_no_timer(clock: CountingClock) -> None:
    store = make(clock, cleanup_interval=0)
    store.set(b"a", b"1", 5)
    clock.advance(10)
    assert (clock.waiting, len(store), store.get(b"a")) == (0, 1, None)


def test_stop_drops_everything_and_leaves_no_timer(clock: CountingClock) -> None:
    store = make(clock)
    store.stop()
    store.set(b"a", b"1", 5)
    store.stop()
    store.stop()
    assert (clock.waiting, len(store)) == (0, 0)
    store.set(b"a", b"2")
    assert store.get(b"a") == b"2"


KEYS = st.sampled_from([b"a", b"b", b"c", b"d"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, st.sampled_from([1.0, 3.0, 7.0, float("inf")])),
        st.tuples(st.just("get"), KEYS),
        st.tuples(st.just("delete"), KEYS),
        st.tuples(st.just("advance"), st.sampled_from([1, 2, 5])),
    ),
    max_size=30,
)


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_any_use_agrees_with_a_plain_table_of_values_and_times(
    steps: list[tuple[object, ...]],
) -> None:
    clock = VirtualClock()
    store = make(clock, max_size=3, cleanup_interval=4)
    model: dict[bytes, tuple[bytes, float]] = {}
    for number, step in enumerate(steps):
        model = {key: item for key, item in model.items() if item[1] > clock.monotonic()}
        match step:
            case ("set", bytes(key), float(ttl)) if key in model or len(model) < 3:
                model[key] = str(number).encode(), clock.monotonic() + ttl
                store.set(key, str(number).encode(), ttl)
            case ("set", bytes(key), float(ttl)):
                with pytest.raises(WippyError):
                    store.set(key, b"", ttl)
            case ("get", bytes(key)):
                assert store.get(key) == model.get(key, (None,))[0]
            case ("delete", bytes(key)):
                assert store.delete(key) == (model.pop(key, None) is not None)
            case ("advance", int(seconds)):
                clock.advance(seconds)
            case _:
                raise AssertionError(step)
