"""Host side of the Lua module `time`, which counts nanoseconds where Python counts seconds.

A point in time crosses as seconds since 1970 and nanoseconds; a zone as its name, and its offset
when it is a fixed one.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import astuple

from wippy_lua.call import Call, End
from wippy_lua.clock import Clock
from wippy_lua.errors import Kind, WippyError
from wippy_lua.lua.modules.time_layout import read, show
from wippy_lua.lua.modules.time_zones import DAY, Zone, check_zone, days_of, in_range, parts_of
from wippy_lua.lua.runtime import HostFunction
from wippy_lua.units import parse_duration

NANOSECONDS = 1_000_000_000  #: in a second
MAX_SHOWN = 64  #: bytes of a text that an error repeats
MAX_TEXT = 256  #: bytes of a layout, and of a text that is read by one
_YEAR_1 = -62135596800  #: what `round` and `truncate` count from, as in Go

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # MICRO SIGN
    "μs": 1_000,  # GREEK SMALL LETTER MU
    "ms": 1_000_000,
    "s": NANOSECONDS,
    "m": 60 * NANOSECONDS,
    "h": 3600 * NANOSECONDS,
}
_PART = re.compile(rf"([0-9]*)(?:\.([0-9]*))?({'|'.join(_UNITS)})")


class TimeModule:
    """The functions that stdlib/time.lua calls."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def functions(self) -> Mapping[str, HostFunction]:
        """Returns the host functions by the names that the Lua side uses."""
        return {
            "now": self.now,
            "monotonic": self.monotonic,
            "sleep": self.sleep,
            "parse_duration": self.parse_duration,
            "check_zone": self.check_zone,
            "date": self.date,
            "parts": self.parts,
            "format": self.format,
            "parse": self.parse,
            "round": self.round,
        }

    def now(self, _call: Call) -> int:
        """Returns Unix time in nanoseconds, about a quarter of a microsecond fine."""
        return round(self._clock.time() * NANOSECONDS)

    def monotonic(self, _call: Call) -> int:
        """Returns nanoseconds of a clock that never goes back."""
        return round(self._clock.monotonic() * NANOSECONDS)

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
        """Returns a duration's nanoseconds, which may be negative."""
        nanoseconds = _nanoseconds(text.decode("utf-8", "replace"))
        if nanoseconds is None or not -(2**63) <= nanoseconds < 2**63:
            raise _invalid(
                'duration must be text such as "250ms", "-5s" or "1h30m"'
                f" (units ns, us, ms, s, m, h), within 292 years, not {_shown(text)}"
            )
        return nanoseconds

    def check_zone(self, _call: Call, name: bytes) -> bool:
        """Returns true when there is a zone of this name."""
        check_zone(name.decode("utf-8", "replace"))
        return True

    def date(
        self,
        _call: Call,
        year: int,
        month: int,
        day: int,
        hour: int,
        minute: int,
        second: int,
        zone: bytes,
        offset: int | None = None,
    ) -> int:
        """Returns the second at which clocks in a zone show this; values out of range carry."""
        clock = hour * 3600 + minute * 60 + second
        local = in_range(days_of(year, month, day) * DAY + clock)
        return in_range(_zone(zone, offset).second_of(local))

    def parts(
        self, _call: Call, second: int, zone: bytes, offset: int | None = None
    ) -> tuple[int, ...]:
        """Returns what a calendar and a clock in a zone show."""
        shift, _name = _zone(zone, offset).at(second)
        return astuple(parts_of(second + shift))

    def format(
        self,
        _call: Call,
        layout: bytes,
        second: int,
        nanosecond: int,
        zone: bytes,
        offset: int | None = None,
    ) -> bytes:
        """Returns a time as text."""
        wanted = _checked("layout", layout)
        text = show(wanted, second, nanosecond, _zone(zone, offset))
        return text.encode("utf-8", "surrogateescape")

    def parse(
        self, _call: Call, layout: bytes, text: bytes, zone: bytes, offset: int | None = None
    ) -> tuple[int, int, bytes, int | None]:
        """Returns the second, nanosecond and zone that a text means."""
        wanted, given = _checked("layout", layout), _checked("text", text)
        second, nanosecond, found = read(wanted, given, _zone(zone, offset))
        return second, nanosecond, found.name.encode(), found.offset

    def round(
        self, _call: Call, second: int, nanosecond: int, unit: int, nearest: bool
    ) -> tuple[int, int]:
        """Returns a time rounded down, or to the nearest multiple of `unit` nanoseconds."""
        total = (second - _YEAR_1) * NANOSECONDS + nanosecond
        rest = total % unit
        total += unit - rest if nearest and rest * 2 >= unit else -rest
        return in_range(total // NANOSECONDS + _YEAR_1), total % NANOSECONDS


def _zone(name: bytes, offset: int | None) -> Zone:
    return Zone(name.decode("utf-8", "replace"), offset)


def _checked(what: str, text: bytes) -> str:
    if len(text) > MAX_TEXT:
        raise _invalid(f"{what} must have at most {MAX_TEXT} bytes, not {len(text)}")
    return text.decode("utf-8", "surrogateescape")


def _nanoseconds(text: str) -> int | None:
    """Returns what a duration means to the nanosecond; None when it is none."""
    unsigned = text[1:] if text[:1] in ("-", "+") else text
    if unsigned == "0":
        return 0
    position = total = 0
    while position < len(unsigned):
        match = _PART.match(unsigned, position)
        if match is None or not (match[1] or match[2]) or len(text) > MAX_SHOWN:
            return None
        fraction = match[2] or ""
        value = int(match[1] + fraction or "0") * _UNITS[match[3]]
        total += value // 10 ** len(fraction)
        position = match.end()
    if not unsigned:
        return None
    return -total if text[0] == "-" else total


def _seconds(duration: float | bytes) -> float:
    try:
        if isinstance(duration, bytes):
            return parse_duration(_with_unit(duration.decode()))
        return parse_duration(duration / NANOSECONDS)
    except ValueError as error:
        raise _invalid(
            'duration must be nanoseconds or text such as "250ms" or "1h30m" '
            f"(units ns, us, ms, s, m, h), from 0 to 365 days, not {_shown(duration)}"
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


def _invalid(message: str) -> WippyError:
    return WippyError(message, kind=Kind.INVALID, retryable=False)
