"""Host side of the Lua module `env`: the variables that the app's `host.config` allows."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

import msgspec

from wippy_lua.call import Call
from wippy_lua.errors import Kind, WippyError
from wippy_lua.lua.runtime import HostFunction
from wippy_lua.security.context import check


class EnvModule:
    """The functions that stdlib/env.lua calls; `values` is the environment, and may change."""

    def __init__(self, values: Mapping[str, str], allowed: Collection[str]) -> None:
        self._values = values
        self._allowed = allowed

    def functions(self) -> Mapping[str, HostFunction]:
        """Returns the host functions by the names that the Lua side uses."""
        return {"get": self.get, "get_all": self.get_all}

    def get(self, call: Call, name: bytes) -> bytes | None:
        """Returns a variable; nil when it is not set."""
        key = name.decode("utf-8", "replace")
        check(call, "env.get", key)
        if key not in self._allowed:
            raise WippyError(
                f"variable {key[:64]!r} is not allowed: add it to 'env' of the host.config entry",
                kind=Kind.PERMISSION_DENIED,
                retryable=False,
            )
        value = self._values.get(key)
        return None if value is None else os.fsencode(value)

    def get_all(self, call: Call) -> bytes:
        """Returns the variables that are set, and allowed to the app and to this call, packed."""
        found = {name: self._values[name] for name in self._allowed if name in self._values}
        if (security := call.security) is not None:
            found = {name: found[name] for name in found if security.allows("env.get", name)}
        return msgspec.msgpack.encode({name: _packable(value) for name, value in found.items()})


def _packable(value: str) -> str | bytes:
    try:
        value.encode()
    except UnicodeEncodeError:  # a variable may hold any bytes
        return os.fsencode(value)
    return value
