"""The seam between the Lua module `store` and the places that keep values."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Done:
    """What a claim finds: the key has a value, so there is nothing left to do."""

    value: bytes


@dataclass(frozen=True, slots=True)
class Held:
    """What a claim finds: another one, which ends in `left` seconds unless it is renewed."""

    left: float


class Store(Protocol):
    """Values by key, each for as long as its time to live (seconds). Values are MessagePack.

    Between a key without a value and its value there may be a claim: one caller's right to set it,
    known by its token, for `lease` seconds at a time. Claims are seen by claims alone: to every
    other verb the key has no value, and what sets one takes the claim's place.

    Every verb is one step that no other comes between, from whatever process. All block until it
    is done, raise WippyError, of kind UNAVAILABLE when the place cannot be reached, and are safe
    from any greenlet of one hub.
    """

    #: Seconds that a claim lasts without being renewed; `inf` where its holder cannot be lost.
    lease: float

    def start(self) -> None:
        """Connects; raises WippyError for what no retry helps. A store that was not started does
        so when it is used."""

    def stop(self) -> None:
        """Disconnects; quiet when not started. The store can be used again."""

    def get(self, key: bytes) -> bytes | None:
        """Returns a key's value."""

    def set(self, key: bytes, value: bytes, ttl: float = inf) -> None:
        """Sets a key's value and, anew, its time to live."""

    def set_if_absent(self, key: bytes, value: bytes, ttl: float = inf) -> bool:
        """Sets a key's value unless it has one; tells whether it did."""

    def incr(self, key: bytes, by: int, ttl: float = inf) -> int:
        """Adds to a key's number and returns the sum; a key without a value counts as 0.

        `ttl` is for a key that had no value: the others keep theirs. Raises WippyError of kind
        INVALID for a value that is no integer, and for a sum of over 64 bits.
        """

    def has(self, key: bytes) -> bool:
        """Tells whether a key has a value."""

    def delete(self, key: bytes) -> bool:
        """Removes a key's value; tells whether it had one."""

    def claim(self, key: bytes, token: bytes) -> Done | Held | None:
        """Claims a key that has neither a value nor a claim; None: the caller has it."""

    def renew(self, key: bytes, token: bytes) -> bool:
        """Lets a claim last from now on; false when it is lost."""

    def finish(self, key: bytes, token: bytes, value: bytes, ttl: float = inf) -> bool:
        """Sets the value that a claim was for, also when its lease has ended and nobody else has
        claimed the key or given it a value since; false when somebody has."""

    def free(self, key: bytes, token: bytes) -> None:
        """Gives up a claim; quiet when it is lost."""
