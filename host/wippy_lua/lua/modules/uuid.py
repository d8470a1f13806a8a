"""Host side of the Lua module `uuid`."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping
from hashlib import md5, sha1

from wippy_lua.call import Call
from wippy_lua.clock import Clock
from wippy_lua.lua.runtime import HostFunction

_NANOSECONDS = 1_000_000_000
_GREGORIAN = 12_219_292_800  #: seconds from 1582-10-15, where version 1 begins, to 1970


class UuidModule:
    """The functions that stdlib/uuid.lua calls."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Random, with the bit that says so: a machine's address is nobody's business.
        self._node = secrets.randbits(48) | 1 << 40
        self._sequence = secrets.randbits(14)
        self._last_ticks = 0

    def functions(self) -> Mapping[str, HostFunction]:
        """Returns the host functions by the names that the Lua side uses."""
        return {"v1": self.v1, "v3": self.v3, "v4": self.v4, "v5": self.v5, "v7": self.v7}

    def v1(self, _call: Call) -> bytes:
        """Returns one of the time; no two are the same, even within a tick of the clock."""
        ticks = int((self._clock.time() + _GREGORIAN) * 10_000_000)
        self._last_ticks = ticks = max(ticks, self._last_ticks + 1)
        fields = (
            ticks & 0xFFFFFFFF,
            ticks >> 32 & 0xFFFF,
            ticks >> 48 & 0x0FFF,
            self._sequence >> 8,
            self._sequence & 0xFF,
            self._node,
        )
        return _text(uuid.UUID(fields=fields, version=1))

    def v3(self, _call: Call, namespace: bytes, name: bytes) -> bytes:
        """Returns the one of a name, by MD5."""
        digest = md5(uuid.UUID(namespace.decode()).bytes + name, usedforsecurity=False).digest()
        return _text(uuid.UUID(bytes=digest, version=3))

    def v4(self, _call: Call) -> bytes:
        """Returns a random one."""
        return _text(uuid.uuid4())

    def v5(self, _call: Call, namespace: bytes, name: bytes) -> bytes:
        """Returns the one of a name, by SHA-1."""
        digest = sha1(uuid.UUID(namespace.decode()).bytes + name, usedforsecurity=False).digest()
        return _text(uuid.UUID(bytes=digest[:16], version=5))

    def v7(self, _call: Call) -> bytes:
        """Returns a random one that begins with the time, finer than its milliseconds."""
        milliseconds, rest = divmod(round(self._clock.time() * _NANOSECONDS), 1_000_000)
        within = (rest << 12) // 1_000_000
        number = milliseconds << 80 | within << 64 | secrets.randbits(62)
        return _text(uuid.UUID(int=number | 7 << 76 | 2 << 62))


def _text(value: uuid.UUID) -> bytes:
    return str(value).encode()
