"""Host side of the Lua module `store`: from a handler's keys and packed values to a store."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from wippy_lua.call import Call
from wippy_lua.errors import Kind, WippyError
from wippy_lua.lua.runtime import HostFunction
from wippy_lua.security.context import check
from wippy_lua.store.memory import MemoryStore
from wippy_lua.units import parse_duration

MAX_KEY_BYTES = 1024


class StoreModule:
    """The functions that stdlib/store.lua calls; `stores` are by ID, and may still grow."""

    def __init__(self, stores: Mapping[str, MemoryStore]) -> None:
        self._stores = stores

    def functions(self) -> Mapping[str, HostFunction]:
        """Returns the host functions by the names that the Lua side uses."""
        return {
            "open": self.open,
            "get": self.get,
            "set": self.set,
            "has": self.has,
            "delete": self.delete,
        }

    def open(self, _call: Call, store: bytes) -> bool:
        """Returns true when the store exists; what is then done with it needs permission."""
        self._find(store)
        return True

    def get(self, call: Call, store: bytes, key: bytes) -> bytes | None:
        """Returns a key's packed value; nil when it has none."""
        return self._store(call, "get", store).get(_checked(key))

    def set(
        self, call: Call, store: bytes, key: bytes, value: bytes, ttl: float | bytes | None = None
    ) -> bool:
        """Sets a key's packed value."""
        _refuse_while_loading(call, "set")
        self._store(call, "set", store).set(
            _checked(key), value, inf if ttl is None else _seconds(ttl)
        )
        return True

    def has(self, call: Call, store: bytes, key: bytes) -> bool:
        """Tells whether a key has a value."""
        return self._store(call, "has", store).has(_checked(key))

    def delete(self, call: Call, store: bytes, key: bytes) -> bool:
        """Removes a key; tells whether it had a value."""
        _refuse_while_loading(call, "delete")
        return self._store(call, "delete", store).delete(_checked(key))

    def _store(self, call: Call, verb: str, name: bytes) -> MemoryStore:
        """Returns a store that the call may use so; raises WippyError."""
        store = self._find(name)
        if call.security is not None:
            check(call, f"store.{verb}", name.decode())
        return store

    def _find(self, name: bytes) -> MemoryStore:
        store_id = name.decode("utf-8", "replace")
        store = self._stores.get(store_id)
        if store is None:
            raise WippyError(
                f"store {store_id!r} not found",
                kind=Kind.NOT_FOUND,
                retryable=False,
                details={"store": store_id},
            )
        return store


def _checked(key: bytes) -> bytes:
    if not 1 <= len(key) <= MAX_KEY_BYTES:
        raise _invalid(f"key must have 1 to {MAX_KEY_BYTES} bytes, not {len(key)}")
    return key


def _seconds(ttl: float | bytes) -> float:
    try:
        seconds = parse_duration(ttl.decode("utf-8", "replace") if isinstance(ttl, bytes) else ttl)
    except ValueError as error:
        raise _invalid(f"ttl {error}") from error
    if seconds == 0:
        raise _invalid("ttl must be over 0: leave it out for a value that stays")
    return seconds


def _refuse_while_loading(call: Call, verb: str) -> None:
    # Every VM loads the module again: at its top level this would undo what handlers have stored.
    if call.loading:
        raise _invalid(f"store {verb} does nothing while a module loads: call it inside a function")


def _invalid(message: str) -> WippyError:
    return WippyError(message, kind=Kind.INVALID, retryable=False)
