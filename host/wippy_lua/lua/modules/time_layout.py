"""Times as text by Go's layouts: what a layout shows is Monday, January 2, 15:04:05 of 2006, MST.

A layout is cut into tokens and text between them once; `_SHOWN` says how a token is written,
`_READ` what it reads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from wippy_lua.errors import Kind, WippyError
from wippy_lua.lua.modules.time_zones import DAY, Parts, Zone, days_of, in_range, parts_of

_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_WEEKDAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]

_TOKEN = re.compile(
    r"January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|002|0[1-6]|__2|_2(?!006)|2006|2|15|[1345]|PM|pm"
    r"|[-Z]07:00:00|[-Z]070000|[-Z]07:00|[-Z]0700|[-Z]07|[.,](?:0+|9+)(?![0-9])"
)


@dataclass(frozen=True, slots=True)
class _Shown:
    parts: Parts
    nanosecond: int
    offset: int
    zone: str

    @property
    def hour12(self) -> int:
        return self.parts.hour % 12 or 12


_SHOWN: Mapping[str, Callable[[_Shown], str]] = {
    "2006": lambda t: f"{t.parts.year:04d}",
    "06": lambda t: f"{t.parts.year % 100:02d}",
    "January": lambda t: _MONTHS[t.parts.month - 1],
    "Jan": lambda t: _MONTHS[t.parts.month - 1][:3],
    "1": lambda t: f"{t.parts.month}",
    "01": lambda t: f"{t.parts.month:02d}",
    "Monday": lambda t: _WEEKDAYS[t.parts.weekday],
    "Mon": lambda t: _WEEKDAYS[t.parts.weekday][:3],
    "2": lambda t: f"{t.parts.day}",
    "_2": lambda t: f"{t.parts.day:2d}",
    "02": lambda t: f"{t.parts.day:02d}",
    "__2": lambda t: f"{t.parts.year_day:3d}",
    "002": lambda t: f"{t.parts.year_day:03d}",
    "15": lambda t: f"{t.parts.hour:02d}",
    "3": lambda t: f"{t.hour12}",
    "03": lambda t: f"{t.hour12:02d}",
    "4": lambda t: f"{t.parts.minute}",
    "04": lambda t: f"{t.parts.minute:02d}",
    "5": lambda t: f"{t.parts.second}",
    "05": lambda t: f"{t.parts.second:02d}",
    "PM": lambda t: "PM" if t.parts.hour >= 12 else "AM",
    "pm": lambda t: "pm" if t.parts.hour >= 12 else "am",
    "MST": lambda t: t.zone or _offset_text("-0700" if t.offset % 3600 else "-07", t.offset),
}


def show(layout: str, second: int, nanosecond: int, zone: Zone) -> str:
    """Returns a time as text."""
    offset, name = zone.at(second)
    time = _Shown(parts_of(second + offset), nanosecond, offset, name)
    return _TOKEN.sub(lambda match: _token_text(match[0], time), layout)


def _token_text(token: str, time: _Shown) -> str:
    shown = _SHOWN.get(token)
    if shown is not None:
        return shown(time)
    if token[0] in "-Z":
        return _offset_text(token, time.offset)
    digits = f"{time.nanosecond:09d}".ljust(len(token) - 1, "0")[: len(token) - 1]
    if token[1] == "9":
        digits = digits.rstrip("0")
    return token[0] + digits if digits else ""


def _offset_text(token: str, offset: int) -> str:
    if token[0] == "Z" and offset == 0:
        return "Z"
    size = abs(offset)
    numbers = (size // 3600, size // 60 % 60, size % 60)[: len(token.replace(":", "")) // 2]
    text = (":" if ":" in token else "").join(f"{number:02d}" for number in numbers)
    return ("-" if offset < 0 else "+") + text


_D2, _D12 = "[0-9]{2}", "[0-9]{1,2}"
_READ: Mapping[str, tuple[str, str]] = {
    "2006": ("year", "[0-9]{4}"),
    "06": ("short_year", _D2),
    "January": ("month_name", f"(?i:{'|'.join(_MONTHS)})"),
    "Jan": ("month_name", f"(?i:{'|'.join(name[:3] for name in _MONTHS)})"),
    "1": ("month", _D12),
    "01": ("month", _D2),
    "Monday": ("", f"(?i:{'|'.join(_WEEKDAYS)})"),
    "Mon": ("", f"(?i:{'|'.join(name[:3] for name in _WEEKDAYS)})"),
    "2": ("day", _D12),
    "_2": ("day", f" ?{_D12}"),
    "02": ("day", _D2),
    "__2": ("year_day", " {0,2}[0-9]{1,3}"),
    "002": ("year_day", "[0-9]{3}"),
    "15": ("hour", _D12),
    "3": ("hour12", _D12),
    "03": ("hour12", _D2),
    "4": ("minute", _D12),
    "04": ("minute", _D2),
    "5": ("second", _D12),
    "05": ("second", _D2),
    "PM": ("half", "AM|PM"),
    "pm": ("half", "am|pm"),
    "MST": ("zone", "UTC|GMT[+-][0-9]{1,2}|[A-Z]{3,5}|[+-][0-9]{2}(?:[0-9]{2})?"),
}
#: A fraction of a second is read after the seconds even where the layout has none.
_ANY_FRACTION = "(?:[.,][0-9]+)?"
_RANGES = {"month": (1, 12), "hour": (0, 23), "hour12": (0, 12), "minute": (0, 59)}


def read(layout: str, text: str, zone: Zone) -> tuple[int, int, Zone]:
    """Returns the second, the nanosecond and the zone that a text means.

    What the layout leaves out is zero, or one for a month and a day; `zone` is for a text without
    an offset. Raises WippyError of kind INVALID.
    """
    pattern, names = _pattern(layout)
    match = pattern.fullmatch(text)
    if match is None:
        raise _invalid(f"{text[:64]!r} is no time of the layout {layout[:64]!r}")
    found = {name: value for name, value in zip(names, match.groups(), strict=True) if value}
    local = _date(found) * DAY + _clock(found)
    second, zone = _in_zone(local, found, zone)
    digits = found.get("fraction", "")[1:10]
    return in_range(second), int(digits.ljust(9, "0")), zone


@lru_cache(maxsize=256)
def _pattern(layout: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    """Returns the pattern of a layout, and what each of its groups is."""
    tokens = list(_TOKEN.finditer(layout))
    pieces: list[str] = []
    names: list[str] = []
    end = 0
    for index, token in enumerate(tokens):
        following = tokens[index + 1][0] if index + 1 < len(tokens) else ""
        pieces.append(re.escape(layout[end : token.start()]))
        for name, piece in _readers(token[0], following):
            # Atomic: without going back, time grows with the length of the text and no faster.
            pieces.append(f"((?>{piece}))")
            names.append(name)
        end = token.end()
    pieces.append(re.escape(layout[end:]))
    return re.compile("".join(pieces)), tuple(names)


def _readers(token: str, following: str) -> Iterator[tuple[str, str]]:
    if token in _READ:
        yield _READ[token]
        if token in ("5", "05") and not following.startswith((".", ",")):
            yield "fraction", _ANY_FRACTION
    elif token[0] in "-Z":
        yield "offset", _offset_pattern(token)
    else:
        count = len(token) - 1
        yield "fraction", _ANY_FRACTION if token[1] == "9" else f"[.,][0-9]{{{count}}}"


def _offset_pattern(token: str) -> str:
    colon = ":" if ":" in token else ""
    count = len(token.replace(":", "")) // 2
    return ("Z|" if token[0] == "Z" else "") + "[+-]" + colon.join([_D2] * count)


def _date(found: Mapping[str, str]) -> int:
    year = _number(found, "year", 0)
    if "short_year" in found:
        short = int(found["short_year"])
        year = short + (1900 if short >= 69 else 2000)
    month, day = _number(found, "month", 1), _number(found, "day", 1)
    if "month_name" in found:
        wanted = found["month_name"][:3].lower()
        month = 1 + next(i for i, name in enumerate(_MONTHS) if name[:3].lower() == wanted)
    first = days_of(year, month, 1)
    if not 1 <= day <= days_of(year, month + 1, 1) - first:
        raise _invalid("day out of range")
    if "year_day" not in found:
        return first + day - 1
    year_day = int(found["year_day"])
    if not 1 <= year_day <= days_of(year + 1, 1, 1) - days_of(year, 1, 1):
        raise _invalid("day of the year out of range")
    return days_of(year, 1, year_day)


def _clock(found: Mapping[str, str]) -> int:
    hour = _number(found, "hour12", _number(found, "hour", 0))
    half = found.get("half", "").upper()
    if half == "PM" and hour < 12:
        hour += 12
    elif half == "AM" and hour == 12:
        hour = 0
    second = _number(found, "second", 0)
    if second > 59:
        raise _invalid("second out of range")
    return hour * 3600 + _number(found, "minute", 0) * 60 + second


def _number(found: Mapping[str, str], name: str, default: int) -> int:
    if name not in found:
        return default
    value = int(found[name])
    low, high = _RANGES.get(name, (0, 9999))
    if not low <= value <= high:
        raise _invalid(f"{name.removesuffix('12')} out of range")
    return value


def _in_zone(local: int, found: Mapping[str, str], zone: Zone) -> tuple[int, Zone]:
    offset, name = found.get("offset"), found.get("zone", "")
    if offset is None and name[:1] in ("+", "-"):
        offset, name = name, ""
    if offset == "Z" or (offset is None and name == "UTC"):
        return local, Zone("UTC")
    if offset is not None:
        return _at_offset(local, _seconds(offset), name, zone)
    second = zone.second_of(local)
    if not name or zone.at(second)[1] == name:
        return second, zone
    # As in Go: an abbreviation alone says nothing of an offset, unless it is "GMT+3".
    hours = int(name[3:]) if name.startswith("GMT") and name != "GMT" else 0
    return local - hours * 3600, Zone(name, hours * 3600)


def _at_offset(local: int, offset: int, name: str, zone: Zone) -> tuple[int, Zone]:
    second = local - offset
    actual = zone.at(second)
    if actual[0] == offset and name in ("", actual[1]):
        return second, zone
    return second, Zone(name, offset)


def _seconds(offset: str) -> int:
    digits = offset[1:].replace(":", "").ljust(6, "0")
    hours, minutes, seconds = int(digits[:2]), int(digits[2:4]), int(digits[4:])
    if hours > 24 or minutes > 59 or seconds > 59:
        raise _invalid("zone offset out of range")
    size = hours * 3600 + minutes * 60 + seconds
    return -size if offset[0] == "-" else size


def _invalid(message: str) -> WippyError:
    return WippyError(message, kind=Kind.INVALID, retryable=False)
