"""Host side of the Lua module `time`, which counts nanoseconds where Python counts seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping

from wippy_lua.call import Call, End
from wippy_lua.clock import Clock
from wippy_lua.errors import Kind, WippyError
from wippy_lua.lua.runtime import HostFunction
from wippy_lua.units import parse_duration

NANOSECONDS = 1_000_000_000  #: in a second
MAX_SHOWN = 64  #: bytes of a text that an error repeats


class TimeModule:
    """The functions that stdlib/time.lua calls."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def functions(self) -> Mapping[str, HostFunction]:
        """Returns the host functions by the names that the Lua side uses."""
        return {"now": self.now, "sleep": self.sleep, "parse_duration": self.parse_duration}

    def now(self, _call: Call) -> int:
        """Returns Unix time in nanoseconds, about a quarter of a microsecond fine."""
        return round(self._clock.time() * NANOSECONDS)

    def sleep(self, call: Call, duration: float | bytes) -> bool:
        """Blocks the calling greenlet; past the call's deadline it does not come back."""
        seconds = _seconds(duration)
        left = call.deadline - time.monotonic()
        if seconds < left:
            self._clock.sleep(seconds)
            return True
        self._clock.sleep(max(left, 0.0))
        # Ended here, where nothing else would: the handler must not take this for a full sleep.
        call.end = call.end or End.TIMEOUT
        return False

    def parse_duration(self, _call: Call, text: bytes) -> int:
        """Returns a duration's nanoseconds."""
        return round(_seconds(text) * NANOSECONDS)


def _seconds(duration: float | bytes) -> float:
    try:
        if isinstance(duration, bytes):
            return parse_duration(_with_unit(duration.decode()))
        return parse_duration(duration / NANOSECONDS)
    except ValueError as error:
        raise WippyError(
            'duration must be nanoseconds or text such as "250ms" or "1h30m" '
            f"(units ns, us, ms, s, m, h), from 0 to 365 days, not {_shown(duration)}",
            kind=Kind.INVALID,
            retryable=False,
        ) from error


def _with_unit(text: str) -> str:
    # "5" is five seconds wherever 5 is, and 5 is five nanoseconds here: no telling what was meant.
    if text != "0" and not text[-1:].isalpha():
        raise ValueError("a unit is missing")
    return text


def _shown(duration: float | bytes) -> str:
    if isinstance(duration, bytes):
        return repr(duration[:MAX_SHOWN].decode("utf-8", "replace"))
    return str(duration)
