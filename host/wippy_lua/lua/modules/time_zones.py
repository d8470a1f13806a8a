"""Zones and the calendar, in plain integers: `datetime` knows neither the year 0 nor nanoseconds.

Time is seconds since 1970 in UTC, whole ones. The calendar is the Gregorian one, before it was
introduced too, as in Go.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from wippy_lua.errors import Kind, WippyError

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

DAY = 86400
FIRST, LAST = -62167219200, 253402300799  #: the years 0 to 9999, in UTC
_EPOCH = date(1970, 1, 1).toordinal() - 1
_CYCLE = 146097  #: days of 400 years, after which the calendar repeats
# What `datetime` can ask a zone about; further out its rules are those of the nearest such day.
_ASKED = (-62135596800 + 2 * DAY, LAST - 2 * DAY)


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone: "UTC", "Local" (the process's own) or an IANA name; with an `offset` a fixed one.

    An offset is seconds east of UTC.
    """

    name: str
    offset: int | None = None

    def at(self, second: int) -> tuple[int, str]:
        """Returns the offset and the abbreviation that apply at a time."""
        if self.offset is not None:
            return self.offset, self.name
        if self.name == "UTC":
            return 0, "UTC"
        if self.name == "Local":
            local = time.localtime(second)
            return local.tm_gmtoff, local.tm_zone
        first, last = _ASKED
        moment = datetime.fromtimestamp(min(max(second, first), last), UTC)
        moment = moment.astimezone(_zone_info(self.name))
        return round((moment.utcoffset() or timedelta()).total_seconds()), moment.tzname() or ""

    def second_of(self, local: int) -> int:
        """Returns the time at which clocks show `local`, seconds of 1970 as they show them.

        Where they show it twice or never, it is right by one of the two offsets.
        """
        guess = local - self.at(local)[0]
        return local - self.at(guess)[0]


def check_zone(name: str) -> None:
    """Raises WippyError of kind NOT_FOUND when there is no zone of this name."""
    if name not in ("UTC", "Local"):
        _zone_info(name)


def _zone_info(name: str) -> ZoneInfo:
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # slow to import

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise WippyError(
            f"no time zone {name[:64]!r} in this system's tz database",
            kind=Kind.NOT_FOUND,
            retryable=False,
        ) from error


@dataclass(frozen=True, slots=True)
class Parts:
    """What a calendar and a clock show. `weekday` counts from Sunday, 0; `year_day` from 1."""

    year: int
    month: int
    day: int
    hour: int
    minute: int
    second: int
    weekday: int
    year_day: int


def parts_of(local: int) -> Parts:
    """Returns what clocks show, of seconds of 1970 as they show them."""
    days, clock = divmod(local, DAY)
    cycles, rest = divmod(days + _EPOCH, _CYCLE)
    day = date.fromordinal(rest + 1)
    return Parts(
        day.year + 400 * cycles,
        day.month,
        day.day,
        clock // 3600,
        clock // 60 % 60,
        clock % 60,
        day.isoweekday() % 7,
        day.timetuple().tm_yday,
    )


def days_of(year: int, month: int, day: int) -> int:
    """Returns days since 1970; a month or a day outside of its range counts on from there."""
    year += (month - 1) // 12
    cycles, in_cycle = divmod(year - 1, 400)
    first = date(in_cycle + 1, (month - 1) % 12 + 1, 1).toordinal() - 1
    return first + cycles * _CYCLE - _EPOCH + day - 1


def in_range(second: int) -> int:
    """Returns the time itself; raises WippyError when it is outside of the years 0 to 9999."""
    if not FIRST <= second <= LAST:
        raise WippyError(
            "the time is outside of the years 0 to 9999", kind=Kind.INVALID, retryable=False
        )
    return second
