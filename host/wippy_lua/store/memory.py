"""A store of keys and values in the host's memory, shared by all its functions."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from wippy_lua.clock import Clock, Timer
from wippy_lua.errors import Kind, WippyError
from wippy_lua.log import Log
from wippy_lua.registry.entry import Entry
from wippy_lua.registry.kinds import MemoryStoreSpec
from wippy_lua.store.store import Done, Held
from wippy_lua.store.value import add, pack


def from_entry(entry: Entry, clock: Clock, log: Log) -> MemoryStore:  # noqa: ARG001 - as the others
    """Returns the store of a `store.memory` entry."""
    spec = entry.spec_as(MemoryStoreSpec)
    return MemoryStore(
        entry.id, clock, max_size=spec.max_size, cleanup_interval=spec.cleanup_interval
    )


@dataclass(frozen=True, slots=True)
class _Item:
    value: bytes
    expires: float  # on the clock's monotonic time
    is_claim: bool = False  # then the value is its token


class MemoryStore:
    """Bytes by key. Belongs to one hub; nothing blocks, so that every verb is one step.

    `max_size` counts keys. What has expired is never seen again, and its memory is given back when
    room is needed and every `cleanup_interval` seconds (0: only when room is needed).
    """

    def __init__(
        self,
        store_id: str,
        clock: Clock,
        *,
        max_size: int,
        cleanup_interval: float,
        # Claims end with the calls that hold them, all of which are in this process.
        lease: float = inf,
    ) -> None:
        self.lease = lease
        self._id = store_id
        self._clock = clock
        self._max_size = max_size
        self._cleanup_interval = cleanup_interval
        self._items: dict[bytes, _Item] = {}
        #: No item expires before this time; so a full store is searched only when it may help.
        self._first_expiry = inf
        self._cleanup: Timer | None = None

    def __len__(self) -> int:
        """Returns how many keys take up room, those that expired and were not dropped yet too."""
        return len(self._items)

    def start(self) -> None:
        """Does nothing."""

    def get(self, key: bytes) -> bytes | None:
        item = self._item(key)
        return None if item is None or item.is_claim else item.value

    def set(self, key: bytes, value: bytes, ttl: float = inf) -> None:
        """Raises WippyError of kind UNAVAILABLE when the store is full and the key is not in it."""
        self._put(key, _Item(value, self._clock.monotonic() + ttl))

    def set_if_absent(self, key: bytes, value: bytes, ttl: float = inf) -> bool:
        if self.has(key):
            return False
        self.set(key, value, ttl)
        return True

    def incr(self, key: bytes, by: int, ttl: float = inf) -> int:
        item = self._item(key)
        if item is None or item.is_claim:
            total = add(None, by)
            self.set(key, pack(total), ttl)
        else:
            total = add(item.value, by)
            self._put(key, _Item(pack(total), item.expires))
        return total

    def has(self, key: bytes) -> bool:
        return self.get(key) is not None

    def delete(self, key: bytes) -> bool:
        found = self.has(key)
        if found:
            del self._items[key]
        return found

    def claim(self, key: bytes, token: bytes) -> Done | Held | None:
        item = self._item(key)
        if item is None:
            self._put_claim(key, token)
            return None
        return Held(item.expires - self._clock.monotonic()) if item.is_claim else Done(item.value)

    def renew(self, key: bytes, token: bytes) -> bool:
        is_held = self._is_held(key, token)
        if is_held:
            self._put_claim(key, token)
        return is_held

    def finish(self, key: bytes, token: bytes, value: bytes, ttl: float = inf) -> bool:
        if self._item(key) is not None and not self._is_held(key, token):
            return False
        self.set(key, value, ttl)
        return True

    def free(self, key: bytes, token: bytes) -> None:
        if self._is_held(key, token):
            del self._items[key]

    def stop(self) -> None:
        """Drops everything; the store can be used again, and is empty then."""
        self._items.clear()
        self._first_expiry = inf
        if self._cleanup is not None:
            self._cleanup.cancel()
            self._cleanup = None

    def _item(self, key: bytes) -> _Item | None:
        item = self._items.get(key)
        if item is not None and item.expires <= self._clock.monotonic():
            del self._items[key]
            return None
        return item

    def _is_held(self, key: bytes, token: bytes) -> bool:
        item = self._item(key)
        return item is not None and item.is_claim and item.value == token

    def _put_claim(self, key: bytes, token: bytes) -> None:
        self._put(key, _Item(token, self._clock.monotonic() + self.lease, is_claim=True))

    def _put(self, key: bytes, item: _Item) -> None:
        if key not in self._items:
            self._make_room()
        self._items[key] = item
        if item.expires < inf:
            self._first_expiry = min(self._first_expiry, item.expires)
            self._arm()

    def _make_room(self) -> None:
        if len(self._items) >= self._max_size and self._first_expiry <= self._clock.monotonic():
            self._drop_expired()
        if len(self._items) >= self._max_size:
            raise WippyError(
                f"store {self._id!r} is full: it holds {self._max_size} keys (max_size)",
                kind=Kind.UNAVAILABLE,
                retryable=True,
                details={"store": self._id, "max_size": self._max_size},
            )

    def _drop_expired(self) -> None:
        now = self._clock.monotonic()
        self._items = {key: item for key, item in self._items.items() if item.expires > now}
        self._first_expiry = min((item.expires for item in self._items.values()), default=inf)

    def _arm(self) -> None:
        if self._cleanup is None and self._cleanup_interval > 0:
            self._cleanup = self._clock.call_later(self._cleanup_interval, self._clean_up)

    def _clean_up(self) -> None:
        self._cleanup = None
        self._drop_expired()
        if self._first_expiry < inf:
            self._arm()
