"""Claims as `once` keeps them: renewed, lost, and settled, on a clock that the test moves."""

from __future__ import annotations

from math import inf

import gevent
import pytest
from gevent.pool import Group

from wippy_lua.errors import Kind, WippyError
from wippy_lua.log import NullLog
from wippy_lua.store.memory import MemoryStore
from wippy_lua.store.once import Claim
from wippy_lua.store.store import Done, Held
from wippy_lua.testing import VirtualClock

LEASE = 30.0


class Place:
    """A store whose claims end, and claims of one key in it as by different hosts."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.store = MemoryStore(
            "app:cache", self.clock, max_size=9, cleanup_interval=0, lease=LEASE
        )
        self.over: list[Claim] = []

    def claim(self) -> Claim:
        return Claim(self.store, b"k", self.clock, NullLog(), Group(), self.over.append)

    def is_held(self) -> bool:
        return isinstance(self.store.claim(b"k", b"probe"), Held)


@pytest.fixture
def place() -> Place:
    return Place()


def test_a_claim_is_renewed_for_as_long_as_its_function_runs(place: Place) -> None:
    claim = place.claim()
    assert claim.take(0) is None
    for _ in range(20):
        place.clock.advance(LEASE / 3)
    assert place.is_held()
    claim.finish(b"\x01", 60)
    assert (place.store.get(b"k"), place.over) == (b"\x01", [claim])
    place.clock.advance(60)
    assert place.store.claim(b"k", b"next") is None


@pytest.mark.parametrize("end", ["free", "interrupt"])
def test_a_claim_that_is_given_up_is_for_others_at_once(place: Place, end: str) -> None:
    claim = place.claim()
    claim.take(0)
    getattr(claim, end)()
    assert place.over == [claim]
    other = gevent.spawn(place.claim().take, 1.0)
    place.clock.advance(1)
    assert other.get(timeout=5) is None
    place.clock.advance(10 * LEASE)  # nothing of the first renews it
    assert place.is_held()


def test_an_interrupt_of_a_settled_claim_does_nothing(place: Place) -> None:
    claim = place.claim()
    claim.take(0)
    claim.finish(b"\x01", inf)
    claim.interrupt()
    gevent.sleep(0.01)
    assert (place.store.get(b"k"), place.over) == (b"\x01", [claim])


def test_a_caller_waits_and_finds_what_the_other_has_done(place: Place) -> None:
    claim = place.claim()
    claim.take(0)
    waiting = gevent.spawn(place.claim().take, 5.0)
    place.clock.advance(4)
    assert not waiting.dead
    claim.finish(b"\x01", inf)
    place.clock.advance(0.2)
    assert waiting.get(timeout=5) == Done(b"\x01")


def test_a_caller_that_has_waited_long_enough_is_told_when_to_come_back(place: Place) -> None:
    place.claim().take(0)
    waiting = gevent.spawn(place.claim().take, 5.0)
    place.clock.advance(5.5)
    waiting.join(timeout=5)
    error = waiting.exception
    assert isinstance(error, WippyError)
    assert (error.kind, error.retryable) == (Kind.CONFLICT, True)
    assert error.details is not None
    assert isinstance(error.details["retry_after"], float)
    assert 0 < error.details["retry_after"] <= LEASE


def test_a_late_finisher_does_not_overwrite_what_another_one_did(place: Place) -> None:
    late = place.claim()
    late.take(0)
    late._settle()  # as when its host hangs: nothing renews
    place.clock.advance(LEASE)
    other = place.claim()
    assert other.take(0) is None
    with pytest.raises(WippyError) as caught:
        late.finish(b"\x01", inf)
    assert (caught.value.kind, caught.value.retryable) == (Kind.CONFLICT, True)
    other.finish(b"\x02", inf)
    with pytest.raises(WippyError):
        late.finish(b"\x01", inf)
    late.free()
    assert place.store.get(b"k") == b"\x02"


def test_a_claim_survives_renewals_that_fail(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = place.claim()
    claim.take(0)

    def fail(*_arguments: object) -> bool:
        raise WippyError("away", kind=Kind.UNAVAILABLE, retryable=True)

    monkeypatch.setattr(place.store, "renew", fail)
    place.clock.advance(LEASE / 2)
    monkeypatch.undo()
    for _ in range(4):
        place.clock.advance(LEASE / 3)
    assert place.is_held()


def test_a_lost_claim_is_not_renewed(place: Place) -> None:
    claim = place.claim()
    claim.take(0)
    place.store.set(b"k", b"\x05")
    place.clock.advance(LEASE)
    assert claim._renewal is not None
    place.store.delete(b"k")
    assert place.store.claim(b"k", b"other") is None
    place.clock.advance(LEASE)
    assert place.store.claim(b"k", b"third") is None
