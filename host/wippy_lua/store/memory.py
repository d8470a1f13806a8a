"""A store of keys and values in the host's memory, shared by all its functions."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from wippy_lua.clock import Clock, Timer
from wippy_lua.errors import Kind, WippyError


@dataclass(frozen=True, slots=True)
class _Item:
    value: bytes
    expires: float  # on the clock's monotonic time


class MemoryStore:
    """Bytes by key, each for as long as its time to live. Belongs to one hub; nothing blocks.

    `max_size` counts keys. What has expired is never seen again, and its memory is given back when
    room is needed and every `cleanup_interval` seconds (0: only when room is needed).
    """

    def __init__(
        self, store_id: str, clock: Clock, *, max_size: int, cleanup_interval: float
    ) -> None:
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

    def get(self, key: bytes) -> bytes | None:
        """Returns a key's value."""
        item = self._items.get(key)
        if item is None:
            return None
        if item.expires <= self._clock.monotonic():
            del self._items[key]
            return None
        return item.value

    def set(self, key: bytes, value: bytes, ttl: float = inf) -> None:
        """Sets a key's value and, anew, its time to live (seconds).

        Raises WippyError of kind UNAVAILABLE when the store is full and the key is not in it.
        """
        if key not in self._items:
            self._make_room()
        expires = self._clock.monotonic() + ttl
        self._items[key] = _Item(value, expires)
        if expires < inf:
            self._first_expiry = min(self._first_expiry, expires)
            self._arm()

    def has(self, key: bytes) -> bool:
        """Tells whether a key has a value."""
        return self.get(key) is not None

    def delete(self, key: bytes) -> bool:
        """Removes a key; tells whether it had a value."""
        found = self.has(key)
        self._items.pop(key, None)
        return found

    def stop(self) -> None:
        """Drops everything; the store can be used again, and is empty then."""
        self._items.clear()
        self._first_expiry = inf
        if self._cleanup is not None:
            self._cleanup.cancel()
            self._cleanup = None

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
