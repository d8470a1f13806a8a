"""Log lines as fields: what the host's parts log to, and how the lines are written."""

from __future__ import annotations

import sys
from collections.abc import Callable, MutableMapping
from functools import cached_property
from typing import Any, Literal, Protocol, TextIO

import msgspec

Format = Literal["console", "json"]
LEVELS = {"debug": 10, "info": 20, "warn": 30, "error": 40}


class Log(Protocol):
    """A logger with fields bound to it. Messages are lower-case constants, facts are fields."""

    def bind(self, **fields: Any) -> Log:
        """Returns a logger whose lines carry these fields too."""

    def debug(self, msg: str, /, **fields: Any) -> Any: ...
    def info(self, msg: str, /, **fields: Any) -> Any: ...
    def warning(self, msg: str, /, **fields: Any) -> Any: ...
    def error(self, msg: str, /, **fields: Any) -> Any: ...


class NullLog:
    """Drops every line."""

    def bind(self, **_fields: Any) -> Log:
        return self

    def debug(self, msg: str, /, **fields: Any) -> None: ...
    def info(self, msg: str, /, **fields: Any) -> None: ...
    def warning(self, msg: str, /, **fields: Any) -> None: ...
    def error(self, msg: str, /, **fields: Any) -> None: ...


class LateLog:
    """Makes its log when the first line comes: most commands write none, and it is dear to make."""

    def __init__(self, make: Callable[[], Log], **fields: Any) -> None:
        self._make = make
        self._fields = fields

    def bind(self, **fields: Any) -> Log:
        return LateLog(self._make, **{**self._fields, **fields})

    def debug(self, msg: str, /, **fields: Any) -> None:
        self._log.debug(msg, **fields)

    def info(self, msg: str, /, **fields: Any) -> None:
        self._log.info(msg, **fields)

    def warning(self, msg: str, /, **fields: Any) -> None:
        self._log.warning(msg, **fields)

    def error(self, msg: str, /, **fields: Any) -> None:
        self._log.error(msg, **fields)

    @cached_property
    def _log(self) -> Log:
        return self._make().bind(**self._fields)


def make_log(level: str = "info", fmt: Format = "console", stream: TextIO | None = None) -> Log:
    """Returns a logger that writes to `stream` (default: standard error).

    `json` writes one object per line: `time`, `level`, `msg`, `logger`, and all fields on the top
    level. `console` is for people, in colour on a terminal.
    """
    # Imported here: it brings half the standard library, which a host without a log does not need.
    import structlog

    out = sys.stderr if stream is None else stream
    log: Log = structlog.wrap_logger(
        structlog.WriteLogger(out),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", key="time"),
            *_renderer(fmt, out),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        cache_logger_on_first_use=True,
    )
    return log.bind(logger="wippy")


def _renderer(fmt: Format, out: TextIO) -> list[Callable[..., Any]]:
    import structlog

    if fmt == "console":
        # Tracebacks without local variables: those hold message bodies and secrets.
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=plain)]
    return [structlog.processors.format_exc_info, _json_line]


def _json_line(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> str:
    line = {
        "time": fields.pop("time"),
        "level": fields.pop("level"),
        "msg": fields.pop("event"),
        "logger": fields.pop("logger"),
        **fields,
    }
    return msgspec.json.encode(line, enc_hook=str).decode()
