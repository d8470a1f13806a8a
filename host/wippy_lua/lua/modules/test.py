"""Host side of the Lua module `test`: the cases of the tests that somebody watches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from wippy_lua.call import Call
from wippy_lua.clock import Clock
from wippy_lua.errors import Kind, WippyError
from wippy_lua.lua.runtime import HostFunction
from wippy_lua.units import parse_duration

MAX_CASES = 10_000  #: of one call
MAX_NAME_BYTES = 200
MAX_TEXT_BYTES = 8192  #: of a message, and of a stack


@dataclass(frozen=True, slots=True)
class Case:
    """One case that has ended; `message` is None when it passed. Times are on the host's clock."""

    name: str
    began: float
    ended: float
    message: str | None = None
    kind: str = ""
    stack: str = ""


@dataclass(slots=True)
class Cases:
    """What a watched call has done: cases that ended, and those in progress, outermost first."""

    ended: list[Case] = field(default_factory=list)
    open: list[tuple[str, float]] = field(default_factory=list)


class TestModule:
    """The functions that stdlib/test.lua calls; `sleep` is that of the module `time`."""

    __test__ = False  # for pytest, which takes classes of this name for its own

    def __init__(self, clock: Clock, sleep: HostFunction) -> None:
        self._clock = clock
        self._sleep = sleep
        self._watched: WeakKeyDictionary[Call, Cases] = WeakKeyDictionary()

    def functions(self) -> Mapping[str, HostFunction]:
        """Returns the host functions by the names that the Lua side uses."""
        return {
            "begin": self.begin,
            "finish": self.finish,
            "now": self.now,
            "seconds": self.seconds,
            "sleep": self._sleep,
        }

    def watch(self, call: Call) -> Cases:
        """Takes note of the cases of a call that is about to be made."""
        return self._watched.setdefault(call, Cases())

    def begin(self, call: Call, name: bytes) -> bool:
        """Begins a case; returns false when nobody watches the call."""
        cases = self._watched.get(call)
        if cases is None:
            return False
        if len(cases.ended) + len(cases.open) >= MAX_CASES:
            raise WippyError(f"a test has at most {MAX_CASES} cases", kind=Kind.INVALID)
        outer = f"{cases.open[-1][0]}: " if cases.open else ""
        cases.open.append((outer + _text(name[:MAX_NAME_BYTES]), self._clock.monotonic()))
        return True

    def finish(
        self, call: Call, message: bytes | None = None, kind: bytes = b"", stack: bytes = b""
    ) -> None:
        """Ends the case that was begun last: with a message, it failed."""
        cases = self._watched[call]
        name, began = cases.open.pop()
        cases.ended.append(
            Case(
                name,
                began,
                self._clock.monotonic(),
                None if message is None else _text(message[:MAX_TEXT_BYTES]),
                _text(kind),
                _text(stack[:MAX_TEXT_BYTES]),
            )
        )

    def now(self, _call: Call) -> float:
        """Returns seconds of a time that never goes back."""
        return self._clock.monotonic()

    def seconds(self, _call: Call, timeout: float | bytes) -> float:
        """Returns the seconds of a timeout."""
        try:
            return parse_duration(_text(timeout) if isinstance(timeout, bytes) else timeout)
        except ValueError as error:
            raise WippyError(f"timeout {error}", kind=Kind.INVALID, retryable=False) from error


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
