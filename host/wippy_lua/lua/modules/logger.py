"""Host side of the Lua module `logger`, and of `print`."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from wippy_lua.call import Call
from wippy_lua.log import LEVELS, Log
from wippy_lua.lua.runtime import HostFunction


class LoggerModule:
    """The functions that stdlib/logger.lua calls; lines below `level` cost next to nothing."""

    def __init__(self, log: Log, level: str) -> None:
        self._log = log
        self._level = LEVELS[level]
        self._write = {
            b"debug": log.debug,
            b"info": log.info,
            b"warn": log.warning,
            b"error": log.error,
        }

    def functions(self) -> Mapping[str, HostFunction]:
        """Returns the host functions by the names that the Lua side uses."""
        return {"is_enabled": self.is_enabled, "log": self.log}

    def is_enabled(self, _call: Call, level: bytes) -> bool:
        """Tells whether lines of this level are written."""
        return LEVELS[level.decode()] >= self._level

    def log(
        self, call: Call, level: bytes, name: bytes, msg: bytes, fields: bytes | None, caller: bytes
    ) -> None:
        """Writes one line with the call's own facts first."""
        line: dict[str, object] = {
            "logger": _text(name) or "lua",
            **call.facts(),
            "caller": _text(caller),
        }
        if fields is not None:
            line |= _fields(fields)
        self._write[level](_text(msg), **line)

    def print(self, call: Call, text: bytes, caller: bytes) -> None:
        """Writes what a script printed."""
        self._log.info(_text(text), logger="print", **call.facts(), caller=_text(caller))


#: Names that a line has already, and those that mean something to structlog, its parameters and its
#: renderers; a script's field of that name gets an underscore.
_TAKEN = frozenset(
    {"time", "level", "msg", "event", "logger", "exc_info", "stack_info", "exception", "stack"}
    | {"self", "method_name"}
)


def _fields(packed: bytes) -> dict[str, object]:
    fields = msgspec.msgpack.decode(packed)
    pairs = fields.items() if isinstance(fields, dict) else enumerate(fields, 1)
    return {(f"{key}_" if str(key) in _TAKEN else str(key)): value for key, value in pairs}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
