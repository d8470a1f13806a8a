"""What commands say: an app's problems, and their own lines beside the log's."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wippy_lua.log import Format
    from wippy_lua.registry.problem import Problem

OK, FAILED, INVALID = 0, 1, 2  #: exit statuses: all was well, it went wrong, it could not be begun


def count(number: int, noun: str, plural: str = "") -> str:
    """Returns "1 problem" or "2 problems"."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"


def problem_line(problem: Problem) -> str:
    """Returns `file:line:column: entry: message`; a warning says that it is one."""
    if problem.severity == "error":
        return str(problem)
    from msgspec.structs import replace

    return str(replace(problem, message=f"warning: {problem.message}"))


def problem_report(problems: Sequence[Problem]) -> str:
    """Returns a line for each problem, and how many there are."""
    return "\n".join([*map(problem_line, problems), count(len(problems), "problem")])


class Notes:
    """Lines to standard error that no log level hides, in the log's format.

    They are written without a lock or a buffer, so that any thread can at any time.
    """

    def __init__(self, fmt: Format) -> None:
        self._format = fmt

    def info(self, text: str) -> None:
        """Says what happens."""
        self._write("info", text, text)

    def error(self, text: str) -> None:
        """Says what went wrong."""
        self._write("error", text, f"error: {text}")

    def _write(self, level: str, text: str, line: str) -> None:
        if self._format == "json":
            import msgspec

            facts = {"time": datetime.now(UTC), "level": level, "msg": text, "logger": "cli"}
            line = msgspec.json.encode(facts).decode()
        # A reader that has gone must not keep a stop from beginning.
        with suppress(BrokenPipeError):
            os.write(2, f"{line}\n".encode("utf-8", "replace"))
