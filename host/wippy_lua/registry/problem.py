"""What is wrong with a registry, and where."""

from __future__ import annotations

from typing import Literal

import msgspec

Severity = Literal["error", "warning"]


class Mark(msgspec.Struct, frozen=True):
    """A place in a file; line and column count from 1, and 0 is "no line" (`--set`, Lua)."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong; `entry` is the entry's ID, or empty for a whole file."""

    file: str
    line: int
    column: int
    entry: str
    message: str
    severity: Severity = "error"

    def __str__(self) -> str:
        place = str(Mark(self.file, self.line, self.column))
        return ": ".join(part for part in (place, self.entry, self.message) if part)


def at(mark: Mark) -> str:
    """Returns " at file:1:2" for the end of a message; nothing for a place without a name."""
    return f" at {mark}" if mark.file else ""


def problem_at(mark: Mark, entry: str, message: str, severity: Severity = "error") -> Problem:
    """Returns a problem at this place."""
    return Problem(mark.file, mark.line, mark.column, entry, message, severity)


def in_file_order(problem: Problem) -> tuple[str, int, int]:
    """Sort key of problems."""
    return problem.file, problem.line, problem.column
