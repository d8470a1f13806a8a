"""Host side of the Lua module `hash`."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Protocol

import gevent

from wippy_lua.call import Call
from wippy_lua.lua.runtime import HostFunction

#: Bytes hashed before others get their turn: a millisecond or two.
BLOCK = 1024 * 1024


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


class HashModule:
    """The functions that stdlib/hash.lua calls."""

    def functions(self) -> Mapping[str, HostFunction]:
        """Returns the host functions by the names that the Lua side uses."""
        return {"digest": self.digest, "hmac": self.hmac}

    def digest(self, _call: Call, name: bytes, data: bytes, raw: bool) -> bytes:
        """Returns a hash."""
        return _finish(hashlib.new(name.decode(), usedforsecurity=False), data, raw)

    def hmac(self, _call: Call, name: bytes, data: bytes, secret: bytes, raw: bool) -> bytes:
        """Returns a message authentication code."""
        return _finish(hmac.new(secret, digestmod=name.decode()), data, raw)


def _finish(hashing: _Hash, data: bytes, raw: bool) -> bytes:
    view = memoryview(data)
    for start in range(0, len(data), BLOCK):
        if start:
            gevent.sleep(0)
        hashing.update(view[start : start + BLOCK])
    digest = hashing.digest()
    return digest if raw else digest.hex().encode()
