"""What became of tests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from wippy_lua.cli.testing.recorder import Line

Status = Literal["passed", "failed", "skipped"]

_PLACE = re.compile(r"([^\s:][^:\n]*):(\d+): ")
_FRAME = re.compile(r"\s*([^\s:\[][^:\n]*):(\d+): in ")

#: Frames of a Lua traceback that say nothing to who wrote the test.
_OURS = ("stack traceback:", "(...tail calls...)", "test:", "wippy/", "[C]:")


class Failure(msgspec.Struct, frozen=True):
    """Why a test failed. `file` is relative to the app, empty where Lua does not tell."""

    message: str
    kind: str = ""
    stack: str = ""
    file: str = ""
    line: int = 0

    @classmethod
    def of(cls, message: str, kind: str, stack: str) -> Failure:
        """Makes one of an error's facts; the place is in its message or its stack."""
        frames = [each.strip() for each in stack.splitlines()]
        shown = "\n".join(each for each in frames if each and not each.startswith(_OURS))
        place = _PLACE.match(message) or _FRAME.match(shown)
        file, line = (place[1], int(place[2])) if place else ("", 0)
        return cls(message, kind, shown, file, line)


class Result(msgspec.Struct, frozen=True):
    """One test, or one case of it, that has ended; "skipped" is what an interrupt kept from it."""

    id: str
    suite: str
    case: str
    status: Status
    seconds: float
    failure: Failure | None = None
    log: Sequence[Line] = ()

    @property
    def name(self) -> str:
        return f"{self.id}: {self.case}" if self.case else self.id


class Run(msgspec.Struct, frozen=True):
    """A whole run; `problems` are what went wrong beside the tests, as when the app stopped."""

    results: Sequence[Result]
    seconds: float
    problems: Sequence[str] = ()

    def count(self, status: Status) -> int:
        return sum(result.status == status for result in self.results)

    @property
    def ok(self) -> bool:
        return (
            bool(self.results) and not self.problems and self.count("passed") == len(self.results)
        )
