"""An error as it travels between a host and who asks it over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from wippy_lua.errors import Kind, QueueNotFound, WippyError

_KINDS: Final = {kind.value: kind for kind in Kind}


class Fault(msgspec.Struct, frozen=True):
    """What is told of an error; a kind that is not known here is UNKNOWN."""

    kind: str
    message: str
    retryable: bool | None = None
    details: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, error: WippyError) -> Fault:
        return cls(error.kind.value, error.message, error.retryable, error.details)

    @property
    def error(self) -> WippyError:
        details = self.details or {}
        kind = _KINDS.get(self.kind, Kind.UNKNOWN)
        if kind is Kind.NOT_FOUND and isinstance(details.get("queue"), str):
            return QueueNotFound(details["queue"])
        return WippyError(self.message, kind=kind, retryable=self.retryable, details=self.details)
