"""The log that every part is handed: messages are constants, facts are fields."""

from __future__ import annotations

from typing import Protocol


class Log(Protocol):
    """What the host asks of a logger; structlog's bound loggers are such.

    `event` is the message, named as structlog names it; so no field may be called that.
    """

    def debug(self, event: str, **fields: object) -> object:
        """Writes what only somebody who looks for a fault wants to read."""

    def info(self, event: str, **fields: object) -> object:
        """Writes what happened as planned."""

    def warning(self, event: str, **fields: object) -> object:
        """Writes what went wrong and will be tried again."""

    def error(self, event: str, **fields: object) -> object:
        """Writes what went wrong for good."""

    def bind(self, **fields: object) -> Log:
        """Returns a log that adds these fields to every line."""


class NullLog:
    """A log that writes nothing."""

    def debug(self, event: str, **fields: object) -> None: ...

    def info(self, event: str, **fields: object) -> None: ...

    def warning(self, event: str, **fields: object) -> None: ...

    def error(self, event: str, **fields: object) -> None: ...

    def bind(self, **fields: object) -> NullLog:  # noqa: ARG002 - there is no line to add them to
        return self
