"""Every error of the host, in one tree.

WippyError                 what a caller can get: kind, message, retryable, details
├── ConfigError            the registry does not hold together; carries every problem
├── CallError              a function call that failed; carries the Lua stack
├── QueueNotFound          NOT_FOUND
├── QueueFull              UNAVAILABLE, retryable: back-pressure lasted longer than the timeout
├── PublishError           some messages of one publish were not stored; says which
└── StopTimeout            a service did not stop in time; names what still ran

Lua sees the same facts as an `errors` object: the kinds below are its constants' values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wippy_lua.registry.problem import Problem


class Kind(StrEnum):
    """What sort of failure an error is; Lua and Python share the values."""

    NOT_FOUND = "NotFound"
    ALREADY_EXISTS = "AlreadyExists"
    INVALID = "Invalid"
    PERMISSION_DENIED = "PermissionDenied"
    UNAVAILABLE = "Unavailable"
    INTERNAL = "Internal"
    CANCELED = "Canceled"
    CONFLICT = "Conflict"
    TIMEOUT = "Timeout"
    RATE_LIMITED = "RateLimited"
    UNKNOWN = ""


class WippyError(Exception):
    """An error with a kind, a three-state `retryable` and machine-readable details."""

    def __init__(
        self,
        message: str,
        *,
        kind: Kind = Kind.UNKNOWN,
        retryable: bool | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.retryable = retryable
        self.details = details


class ConfigError(WippyError):
    """The app's registry has problems; `problems` holds all of them, in file order."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)), kind=Kind.INVALID, retryable=False)
        self.problems = tuple(problems)


class CallError(WippyError):
    """A function call that did not succeed; `stack` is the Lua traceback, or empty."""

    def __init__(
        self,
        message: str,
        *,
        kind: Kind = Kind.UNKNOWN,
        retryable: bool | None = None,
        details: Mapping[str, object] | None = None,
        stack: str = "",
    ) -> None:
        super().__init__(message, kind=kind, retryable=retryable, details=details)
        self.stack = stack


class QueueNotFound(WippyError):
    """No queue has this ID."""

    def __init__(self, queue: str) -> None:
        super().__init__(
            f"queue {queue!r} not found",
            kind=Kind.NOT_FOUND,
            retryable=False,
            details={"queue": queue},
        )


class QueueFull(WippyError):
    """A bounded queue stayed full for the whole publish timeout (seconds)."""

    def __init__(self, queue: str, max_length: int, timeout: float) -> None:
        super().__init__(
            f"queue {queue!r} is full: {max_length} messages wait,"
            f" and none left within {timeout:g}s",
            kind=Kind.UNAVAILABLE,
            retryable=True,
            details={"queue": queue, "max_length": max_length},
        )


class PublishError(WippyError):
    """Some messages of one publish were not stored; `failed` maps their index to the cause."""

    def __init__(self, failed: Mapping[int, WippyError]) -> None:
        first = next(iter(failed.values()))
        super().__init__(
            f"{len(failed)} messages were not published: {first.message}",
            kind=first.kind,
            retryable=first.retryable,
            details={"failed": list(failed)},
        )
        self.failed = failed


class StopTimeout(WippyError):
    """A service did not stop within its timeout; `running` names what was interrupted."""

    def __init__(self, service: str, timeout: float, running: Sequence[str]) -> None:
        super().__init__(
            f"{service} did not stop within {timeout:g}s: interrupted {', '.join(running)}",
            kind=Kind.TIMEOUT,
            retryable=False,
            details={"service": service, "running": list(running)},
        )
        self.running = tuple(running)
