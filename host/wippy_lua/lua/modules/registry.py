"""Host side of the Lua module `registry`: entries as plain data, without what may be secret."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from wippy_lua.call import Call
from wippy_lua.errors import Kind, WippyError
from wippy_lua.lua.runtime import HostFunction
from wippy_lua.registry.entry import Entry, is_of_kind
from wippy_lua.registry.registry import Registry

#: Kinds whose fields anybody may read, but for their Lua: a driver's URL has its password in it.
_OPEN_KINDS = ("function", "library", "process", "queue.queue", "queue.consumer")
_FIELDS = frozenset({"id", "namespace", "name", "kind"})

_encode = msgspec.msgpack.Encoder(enc_hook=str).encode


class RegistryModule:
    """The functions that stdlib/registry.lua calls; the registry may still grow."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def functions(self) -> Mapping[str, HostFunction]:
        """Returns the host functions by the names that the Lua side uses."""
        return {"get": self.get, "find": self.find}

    def get(self, _call: Call, entry: bytes) -> bytes:
        """Returns an entry, packed."""
        entry_id = entry.decode("utf-8", "replace")
        found = self._registry.get(entry_id)
        if found is None:
            raise WippyError(
                f"entry {entry_id!r} not found",
                kind=Kind.NOT_FOUND,
                retryable=False,
                details={"entry": entry_id},
            )
        return _encode(_plain(found))

    def find(self, _call: Call, criteria: bytes) -> bytes:
        """Returns the entries that meet packed criteria, packed."""
        wanted = _criteria(criteria)
        return _encode([_plain(entry) for entry in self._registry if _meets(entry, wanted)])


def _criteria(packed: bytes) -> Mapping[str, object]:
    criteria = msgspec.msgpack.decode(packed)
    if criteria == []:  # an empty Lua table is a list
        return {}
    if not isinstance(criteria, dict):
        raise _invalid("criteria must have names")
    wanted = {str(name).removeprefix("."): value for name, value in criteria.items()}
    for name in wanted:
        if name not in _FIELDS and not name.startswith("meta."):
            raise _invalid(
                f"unknown criterion {name[:64]!r}: id, namespace, name, kind or meta.<key>"
            )
    return wanted


def _meets(entry: Entry, wanted: Mapping[str, object]) -> bool:
    return all(_matches(entry, name, value) for name, value in wanted.items())


def _matches(entry: Entry, name: str, value: object) -> bool:
    if name == "kind":
        return isinstance(value, str) and is_of_kind(entry.kind, value)
    if name in _FIELDS:
        return bool(getattr(entry, name) == value)
    return bool(entry.meta.get(name.removeprefix("meta.")) == value)


def _plain(entry: Entry) -> Mapping[str, object]:
    plain: dict[str, object] = {name: getattr(entry, name) for name in sorted(_FIELDS)}
    plain["meta"] = dict(entry.meta)
    if any(is_of_kind(entry.kind, kind) for kind in _OPEN_KINDS):
        data = msgspec.to_builtins(entry.spec, enc_hook=str)
        plain["data"] = {name: value for name, value in data.items() if name != "source"}
    return plain


def _invalid(message: str) -> WippyError:
    return WippyError(message, kind=Kind.INVALID, retryable=False)
