"""A log that is kept, so that a test which failed can show what happened meanwhile."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from wippy_lua.log import LEVELS, Log

MAX_LINES = 10_000  #: kept of a whole run; older ones are forgotten
MAX_LINES_SHOWN = 200  #: of one test


class Line(msgspec.Struct, frozen=True):
    """One line of the log. `moment` is on `time.monotonic`."""

    moment: float
    time: datetime
    level: str
    msg: str
    fields: Mapping[str, object]

    def __str__(self) -> str:
        facts = " ".join(f"{key}={_shown(value)}" for key, value in self.fields.items())
        return f"{self.time:%H:%M:%S.%f}"[:-3] + f" {self.level:<5} {self.msg}  {facts}".rstrip()


class Recorder:
    """Keeps the lines from a level on; `log` is where they are written to."""

    def __init__(self) -> None:
        self._lines: deque[Line] = deque(maxlen=MAX_LINES)

    def log(self, level: str) -> Log:
        """Returns a log that keeps lines of this level and above."""
        return _RecordedLog(self._lines, LEVELS[level], {"logger": "wippy"})

    def during(self, start: float, end: float, test: str, tests: Collection[str]) -> list[Line]:
        """Returns the last lines of a time: those of one test, and of what is no test.

        What handlers write cannot be told by who published their message.
        """
        others = set(tests) - {test}
        found = [
            line
            for line in self._lines
            if start <= line.moment <= end and line.fields.get("function") not in others
        ]
        return found[-MAX_LINES_SHOWN:]


class _RecordedLog:
    """The log of the host and of Lua."""

    def __init__(self, lines: deque[Line], level: int, fields: Mapping[str, object]) -> None:
        self._lines = lines
        self._level = level
        self._fields = fields

    def bind(self, **fields: Any) -> Log:
        return _RecordedLog(self._lines, self._level, {**self._fields, **fields})

    def debug(self, msg: str, /, **fields: Any) -> None:
        self._write("debug", msg, fields)

    def info(self, msg: str, /, **fields: Any) -> None:
        self._write("info", msg, fields)

    def warning(self, msg: str, /, **fields: Any) -> None:
        self._write("warn", msg, fields)

    def error(self, msg: str, /, **fields: Any) -> None:
        self._write("error", msg, fields)

    def _write(self, level: str, msg: str, fields: dict[str, object]) -> None:
        if LEVELS[level] >= self._level:
            given = {**self._fields, **fields}
            facts = {key: _plain(value) for key, value in given.items()}
            self._lines.append(Line(time.monotonic(), datetime.now(UTC), level, msg, facts))


def _plain(value: object) -> object:
    if isinstance(value, BaseException):
        return "".join(traceback.format_exception(value))
    return value


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
    return text if text and " " not in text else repr(text)
