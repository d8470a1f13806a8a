"""What every store passes."""

from __future__ import annotations

from math import inf
from typing import ClassVar

import gevent
import pytest
from msgspec import msgpack

from wippy_lua.errors import Kind, WippyError
from wippy_lua.store.store import Done, Held, Store

VALUES = (
    None,
    True,
    False,
    0,
    -1,
    127,
    -33,
    300,
    2**63 - 1,
    -(2**63),
    1.5,
    3.0,
    "text",
    "12",
    b"\xff\0",
    [1, {"a": [None]}],
)
NO_INTEGERS = ("1", 1.0, True, None, [1])


class StoreSuite:
    """The contract of `Store` as tests. A subclass gives a fixture `store`, and confesses what is
    missing.

        class TestMyStore(StoreSuite):
            @pytest.fixture
            def store(self):
                store = MyStore(...)
                store.start()
                yield store
                store.stop()

    `advance` sleeps unless a store's clock can be moved.
    """

    #: Seconds: the shortest time to live that is tried.
    unit: ClassVar[float] = 0.2
    #: Values are still there when the store was stopped and started.
    survives_restart: ClassVar[bool] = True
    #: Bytes of the largest value that is tried.
    largest_value: ClassVar[int] = 1024 * 1024

    @pytest.fixture
    def store(self) -> Store:
        raise NotImplementedError("a subclass of StoreSuite gives a fixture `store`, empty")

    @pytest.fixture
    def other(self, store: Store) -> Store:
        """What another process has of the same keys; the store itself where it cannot be shared."""
        return store

    def advance(self, seconds: float) -> None:
        """Lets time pass for the store."""
        gevent.sleep(seconds)

    # Values

    def test_a_value_stays_until_it_is_deleted(self, store: Store, other: Store) -> None:
        assert (store.get(b"k"), store.has(b"k"), store.delete(b"k")) == (None, False, False)
        store.set(b"k", b"\x01")
        assert (other.get(b"k"), other.has(b"k")) == (b"\x01", True)
        store.set(b"k", b"\x02")
        assert other.get(b"k") == b"\x02"
        assert other.delete(b"k") is True
        assert (store.get(b"k"), store.has(b"k"), store.delete(b"k")) == (None, False, False)

    @pytest.mark.parametrize("value", VALUES, ids=repr)
    def test_a_value_comes_back_as_it_was(self, store: Store, value: object) -> None:
        store.set(b"set", msgpack.encode(value))
        store.set_if_absent(b"absent", msgpack.encode(value))
        for key in (b"set", b"absent"):
            back = store.get(key)
            assert back is not None
            assert store.has(key)
            decoded = msgpack.decode(back)
            assert (type(decoded), decoded) == (type(value), value)

    def test_any_key_and_a_large_value_are_kept(self, store: Store) -> None:
        large = msgpack.encode(b"\0" * self.largest_value)
        keys = [bytes(range(256)) * 4, b"\0", b"a:b {c} *", "ü".encode(), "ü".encode("latin-1")]
        for key in keys:
            store.set(key, large)
        assert [store.get(key) == large for key in keys] == [True] * len(keys)
        assert [store.delete(key) for key in keys] == [True] * len(keys)

    def test_a_value_is_gone_when_its_time_has_passed(self, store: Store) -> None:
        for key in (b"got", b"asked", b"deleted"):
            store.set(key, b"\x01", 2 * self.unit)
        store.set_if_absent(b"absent", b"\x01", 2 * self.unit)
        assert store.get(b"got") == b"\x01"
        self.advance(2 * self.unit)
        assert (store.get(b"got"), store.has(b"asked"), store.get(b"absent")) == (None, False, None)
        assert store.delete(b"deleted") is False

    def test_setting_again_replaces_the_time_to_live(self, store: Store) -> None:
        store.set(b"stays", b"\x01", self.unit)
        store.set(b"stays", b"\x02")
        store.set(b"longer", b"\x01", self.unit)
        store.set(b"longer", b"\x02", 60)
        self.advance(2 * self.unit)
        assert (store.get(b"stays"), store.get(b"longer")) == (b"\x02", b"\x02")

    def test_a_value_is_set_if_there_is_none(self, store: Store, other: Store) -> None:
        assert store.set_if_absent(b"k", b"\x01", 2 * self.unit) is True
        assert other.set_if_absent(b"k", b"\x02", 60) is False
        assert store.get(b"k") == b"\x01"
        self.advance(2 * self.unit)
        assert other.set_if_absent(b"k", b"\x02") is True
        assert store.get(b"k") == b"\x02"

    def test_of_many_who_set_a_value_one_does(self, store: Store, other: Store) -> None:
        tries = [
            gevent.spawn(each.set_if_absent, b"k", bytes([number]))
            for number, each in enumerate((store, other) * 10)
        ]
        gevent.joinall(tries, raise_error=True)
        winners = [bytes([number]) for number, each in enumerate(tries) if each.value]
        assert [store.get(b"k")] == winners

    # Numbers

    def test_a_number_counts_from_zero(self, store: Store, other: Store) -> None:
        assert [store.incr(b"k", 1), other.incr(b"k", 5), store.incr(b"k", -10)] == [1, 6, -4]
        assert store.get(b"k") == msgpack.encode(-4)
        store.set(b"k", msgpack.encode(2**40))
        assert other.incr(b"k", 0) == 2**40

    def test_a_number_counts_to_64_bits_and_no_further(self, store: Store) -> None:
        for largest, by in ((2**63 - 1, 1), (-(2**63), -1)):
            store.set(b"k", msgpack.encode(largest - by))
            assert store.incr(b"k", by) == largest
            assert self.refuses_to_count(store, by)
            assert store.get(b"k") == msgpack.encode(largest)

    @pytest.mark.parametrize("value", NO_INTEGERS, ids=repr)
    def test_what_is_no_integer_does_not_count(self, store: Store, value: object) -> None:
        store.set(b"k", msgpack.encode(value))
        assert self.refuses_to_count(store, 1)
        assert store.get(b"k") == msgpack.encode(value)

    def refuses_to_count(self, store: Store, by: int) -> bool:
        with pytest.raises(WippyError) as caught:
            store.incr(b"k", by)
        return (caught.value.kind, caught.value.retryable) == (Kind.INVALID, False)

    def test_a_number_keeps_the_time_to_live_that_it_began_with(self, store: Store) -> None:
        store.incr(b"new", 1, 2 * self.unit)
        store.set(b"set", b"\x01", 2 * self.unit)
        for key in (b"new", b"set"):
            assert store.incr(key, 1, 60) == 2
        self.advance(2 * self.unit)
        assert [store.incr(key, 1) for key in (b"new", b"set")] == [1, 1]

    def test_no_sum_is_lost(self, store: Store, other: Store) -> None:
        adding = [gevent.spawn(each.incr, b"k", 1) for each in (store, other) * 25]
        gevent.joinall(adding, raise_error=True)
        assert {each.value for each in adding} == set(range(1, 51))

    # Claims

    def test_a_claimed_key_has_no_value_and_no_second_claim(
        self, store: Store, other: Store
    ) -> None:
        assert store.claim(b"k", b"one") is None
        found = other.claim(b"k", b"two")
        assert isinstance(found, Held)
        assert 0 < found.left <= store.lease
        assert (other.get(b"k"), other.has(b"k"), other.delete(b"k")) == (None, False, False)
        assert isinstance(other.claim(b"k", b"two"), Held)

    def test_a_claim_that_is_finished_is_a_value(self, store: Store, other: Store) -> None:
        store.claim(b"k", b"one")
        assert store.finish(b"k", b"one", b"\x07", 2 * self.unit) is True
        assert (other.get(b"k"), other.claim(b"k", b"two")) == (b"\x07", Done(b"\x07"))
        assert store.finish(b"k", b"one", b"\x08") is False
        self.advance(2 * self.unit)
        assert other.claim(b"k", b"two") is None

    def test_a_claim_that_is_freed_is_for_others(self, store: Store, other: Store) -> None:
        store.claim(b"k", b"one")
        other.free(b"k", b"two")
        assert isinstance(other.claim(b"k", b"two"), Held)
        store.free(b"k", b"one")
        assert other.claim(b"k", b"two") is None
        store.free(b"k", b"one")
        assert store.finish(b"k", b"one", b"\x01") is False
        assert other.finish(b"k", b"two", b"\x02") is True
        other.free(b"k", b"two")
        assert store.get(b"k") == b"\x02"

    @pytest.mark.parametrize("verb", ["set", "set_if_absent", "incr"])
    def test_what_sets_a_value_takes_the_place_of_a_claim(self, store: Store, verb: str) -> None:
        store.claim(b"k", b"one")
        assert getattr(store, verb)(b"k", *((1,) if verb == "incr" else (b"\x01",))) in (1, None)
        assert store.get(b"k") == b"\x01"
        assert (store.renew(b"k", b"one"), store.finish(b"k", b"one", b"\x02")) == (False, False)
        store.free(b"k", b"one")
        assert store.get(b"k") == b"\x01"

    def test_of_many_who_claim_a_key_one_does(self, store: Store, other: Store) -> None:
        claims = [
            gevent.spawn(each.claim, b"k", b"%d" % number)
            for number, each in enumerate((store, other) * 10)
        ]
        gevent.joinall(claims, raise_error=True)
        assert [each.value for each in claims].count(None) == 1

    def test_a_claim_ends_with_its_lease_and_does_not_come_back(
        self, store: Store, other: Store
    ) -> None:
        store.claim(b"k", b"one")
        if store.lease == inf:
            return  # its holder cannot be lost: see what says so
        self.advance(store.lease)
        assert other.claim(b"k", b"two") is None
        assert (store.renew(b"k", b"one"), store.finish(b"k", b"one", b"\x01")) == (False, False)
        store.free(b"k", b"one")
        assert isinstance(store.claim(b"k", b"three"), Held)
        assert other.finish(b"k", b"two", b"\x02") is True
        assert (store.finish(b"k", b"one", b"\x01"), store.get(b"k")) == (False, b"\x02")

    def test_a_claim_that_is_renewed_stays(self, store: Store, other: Store) -> None:
        store.claim(b"k", b"one")
        for _ in range(3):
            self.advance(0.6 * store.lease if store.lease < inf else 100)
            assert store.renew(b"k", b"one") is True
            assert isinstance(other.claim(b"k", b"two"), Held)
        assert (store.renew(b"k", b"two"), store.renew(b"other", b"one")) == (False, False)

    def test_a_late_result_counts_when_nobody_else_has_claimed_the_key(self, store: Store) -> None:
        store.claim(b"k", b"one")
        self.advance(store.lease if store.lease < inf else 100)
        assert store.finish(b"k", b"one", b"\x01") is True
        assert store.get(b"k") == b"\x01"

    # Its end

    def test_it_can_be_stopped_and_used_again(self, store: Store) -> None:
        store.set(b"k", b"\x01")
        store.stop()
        store.stop()
        store.start()
        store.start()
        assert store.get(b"k") == (b"\x01" if self.survives_restart else None)
        store.stop()
        assert store.has(b"k") is self.survives_restart
