"""Points in time, durations and zones of the Lua module `time`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lua.running import host_of
from wippy_lua.errors import CallError, Kind
from wippy_lua.testing import VirtualClock

PRELUDE = """\
local time = require("time")
local paris = time.load_location("Europe/Paris")
local york = time.load_location("America/New_York")
local at = time.date(2026, 11, 24, 22, 3, 4, 5006007)
"""


def evaluate(folder: Path, expression: str) -> object:
    main = f"{PRELUDE}return {{main = function() return {expression} end}}"
    return host_of(folder, main=main, clock=VirtualClock(1_795_557_600.5)).run_main()


def kind_of(folder: Path, expression: str) -> object:
    found = evaluate(folder, f"problem({expression})")
    assert isinstance(found, dict)
    return found.get("kind")


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        ("time.RFC3339", "2026-11-24T22:03:04Z"),
        ("time.RFC3339NANO", "2026-11-24T22:03:04.005006007Z"),
        ("time.RFC822", "24 Nov 26 22:03 UTC"),
        ("time.RFC822Z", "24 Nov 26 22:03 +0000"),
        ("time.RFC850", "Tuesday, 24-Nov-26 22:03:04 UTC"),
        ("time.RFC1123", "Tue, 24 Nov 2026 22:03:04 UTC"),
        ("time.RFC1123Z", "Tue, 24 Nov 2026 22:03:04 +0000"),
        ("time.KITCHEN", "10:03PM"),
        ("time.STAMP", "Nov 24 22:03:04"),
        ("time.STAMP_MILLI", "Nov 24 22:03:04.005"),
        ("time.STAMP_MICRO", "Nov 24 22:03:04.005006"),
        ("time.STAMP_NANO", "Nov 24 22:03:04.005006007"),
        ("time.DATE_TIME", "2026-11-24 22:03:04"),
        ("time.DATE_ONLY", "2026-11-24"),
        ("time.TIME_ONLY", "22:03:04"),
        ('"Monday January 2 15 3 03 4 5 PM pm 1 01 06 002 __2"',
         "Tuesday November 24 22 10 10 3 4 PM pm 11 11 26 328 328"),
        ('"_2006 .00 ,999 .9 Month Jane 2"', "_2026 .00 ,005  Month Jane 24"),
        ('"-07 -0700 -07:00 -070000 -07:00:00 Z07 Z0700 Z07:00 Z070000"',
         "+00 +0000 +00:00 +000000 +00:00:00 Z Z Z Z"),
        ('"plain \\u{e9} text"', "plain é text"),
        ('""', ""),
    ],
)  # fmt: skip
def test_a_time_is_shown_by_a_layout(tmp_path: Path, layout: str, text: str) -> None:
    assert evaluate(tmp_path, f"at:format({layout})") == text


@pytest.mark.parametrize(
    ("location", "text"),
    [
        ("paris", "2026-11-24T23:03:04+01:00 CET"),
        ("york", "2026-11-24T17:03:04-05:00 EST"),
        ('time.fixed_zone("X", -16200)', "2026-11-24T17:33:04-04:30 X"),
        ('time.fixed_zone("", 3600)', "2026-11-24T23:03:04+01:00 +01"),
        ("time.utc", "2026-11-24T22:03:04Z UTC"),
    ],
)
def test_a_time_is_shown_where_it_is(tmp_path: Path, location: str, text: str) -> None:
    shown = evaluate(tmp_path, f'at:in_location({location}):format(time.RFC3339 .. " MST")')
    assert shown == text


@pytest.mark.parametrize(
    ("layout", "text", "expected"),
    [
        ("time.RFC3339", "2026-11-24T22:03:04Z", "2026-11-24T22:03:04Z"),
        ("time.RFC3339", "2026-11-24T22:03:04.25+05:30", "2026-11-24T22:03:04.25+05:30"),
        ("time.RFC3339NANO", "2026-11-24T22:03:04.000000007Z", "2026-11-24T22:03:04.000000007Z"),
        ("time.RFC1123", "Tue, 24 Nov 2026 22:03:04 GMT", "2026-11-24T22:03:04Z"),
        ("time.RFC1123Z", "Tue, 24 Nov 2026 22:03:04 -0800", "2026-11-24T22:03:04-08:00"),
        ("time.RFC850", "tuesday, 24-NOV-69 22:03:04 UTC", "1969-11-24T22:03:04Z"),
        ("time.RFC822", "24 Nov 68 22:03 GMT+3", "2068-11-24T22:03:00+03:00"),
        ("time.KITCHEN", "12:03AM", "0000-01-01T00:03:00Z"),
        ("time.KITCHEN", "3:04PM", "0000-01-01T15:04:00Z"),
        ("time.STAMP_MILLI", "Nov  4 22:03:04.123", "0000-11-04T22:03:04.123Z"),
        ("time.DATE_TIME", "2026-11-24 22:03:04,5", "2026-11-24T22:03:04.5Z"),
        ("time.DATE_ONLY", "2028-02-29", "2028-02-29T00:00:00Z"),
        ('"2006 002"', "2028 366", "2028-12-31T00:00:00Z"),
    ],
)
def test_a_text_is_read_by_a_layout(tmp_path: Path, layout: str, text: str, expected: str) -> None:
    shown = evaluate(tmp_path, f'time.parse({layout}, "{text}"):format(time.RFC3339NANO)')
    assert shown == expected


@pytest.mark.parametrize(
    "arguments",
    [
        'time.RFC3339, "2026-11-24"',
        'time.DATE_ONLY, "2026-11-24 "',
        'time.DATE_ONLY, "2026-02-29"',
        'time.DATE_ONLY, "2026-13-01"',
        'time.DATE_ONLY, "2026-00-01"',
        'time.TIME_ONLY, "24:00:00"',
        'time.TIME_ONLY, "23:60:00"',
        'time.TIME_ONLY, "23:59:60"',
        'time.KITCHEN, "13:00PM"',
        'time.RFC3339, "2026-11-24T22:03:04+25:00"',
        '"2006 002", "2026 366"',
        'time.DATE_ONLY, "\\xff"',
        'time.DATE_ONLY, ("2"):rep(1000)',
        '("2"):rep(257), "2"',
        '("2"):rep(256), ("2"):rep(255) .. "x"',
        "time.DATE_ONLY, 5",
        'nil, "2026-11-24"',
        'time.DATE_ONLY, "2026-11-24", "UTC"',
    ],
)
def test_what_is_no_time_is_invalid(tmp_path: Path, arguments: str) -> None:
    assert kind_of(tmp_path, f"time.parse({arguments})") == Kind.INVALID


def test_a_text_without_an_offset_is_of_the_given_location(tmp_path: Path) -> None:
    expression = """(function()
      local summer = time.parse(time.DATE_TIME, "2026-07-01 12:00:00", paris)
      local named = time.parse(time.RFC822, "01 Jul 26 12:00 CEST", paris)
      return {summer:utc():hour(), summer:location() == paris, named:location() == paris,
              named:equal(summer)}
    end)()"""
    assert evaluate(tmp_path, expression) == [10, True, True, True]


def test_dates_carry_what_is_out_of_range(tmp_path: Path) -> None:
    shown = [
        "time.date(2026, 10, 32, 0, 0, 0, 0)",
        "time.date(2026, 14, -1, 25, 61, 61, 1500000000)",
        "time.date(2028, 3, 0)",
    ]
    lists = ", ".join(f"{each}:format(time.RFC3339NANO)" for each in shown)
    assert evaluate(tmp_path, f"{{{lists}}}") == [
        "2026-11-01T00:00:00Z",
        "2027-01-31T02:02:02.5Z",
        "2028-02-29T00:00:00Z",
    ]


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        ("2026, 3, 29, 1, 59, 59", "2026-03-29T00:59:59Z"),
        ("2026, 3, 29, 3, 0, 0", "2026-03-29T01:00:00Z"),
        ("2026, 10, 25, 1, 59, 59", "2026-10-24T23:59:59Z"),
        ("2026, 10, 25, 3, 0, 0", "2026-10-25T02:00:00Z"),
    ],
)
def test_a_date_is_right_beside_a_change_of_the_offset(
    tmp_path: Path, local: str, utc: str
) -> None:
    assert evaluate(tmp_path, f"time.date({local}, 0, paris):utc():format_rfc3339()") == utc


def test_calendar_and_clock(tmp_path: Path) -> None:
    values = """{at:year(), at:month(), at:day(), at:hour(), at:minute(), at:second(),
      at:nanosecond(), at:weekday(), at:year_day(), at:unix(), at:unix_nano(), at:is_zero()}"""
    assert evaluate(tmp_path, values) == [
        2026, 11, 24, 22, 3, 4, 5006007, 2, 328,
        1_795_557_784, 1_795_557_784_005_006_007, False,
    ]  # fmt: skip
    assert evaluate(tmp_path, "{at:date()}") == [2026, 11, 24]
    assert evaluate(tmp_path, "{at:clock()}") == [22, 3, 4]


def test_months_and_weekdays_are_numbers(tmp_path: Path) -> None:
    found = evaluate(tmp_path, "{time.JANUARY, time.DECEMBER, time.SUNDAY, time.SATURDAY}")
    assert found == [1, 12, 0, 6]


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ('at:add("1h"):sub(at)', "1h0m0s"),
        ("at:add(-1):sub(at)", "-1ns"),
        ("at:sub(at:add(1500))", "-1.5µs"),
        ('at:add(time.parse_duration("-36h")):sub(at)', "-36h0m0s"),
        ("time.date(9999, 1, 1):sub(time.date(1, 1, 1))", "2562047h47m16.854775807s"),
        ("time.date(1, 1, 1):sub(time.date(9999, 1, 1))", "-2562047h47m16.854775808s"),
        ("at:add_date(1, 1, 1)", "2027-12-25 22:03:04.005006007 +0000 UTC"),
        ("at:in_location(paris):add_date(0, -5, 0)", "2026-06-24 23:03:04.005006007 +0200 CEST"),
        ('at:round("1h")', "2026-11-24 22:00:00 +0000 UTC"),
        ('at:add("27m"):round("1h")', "2026-11-24 23:00:00 +0000 UTC"),
        ("at:truncate(time.MICROSECOND)", "2026-11-24 22:03:04.005006 +0000 UTC"),
        ("at:truncate(0)", "2026-11-24 22:03:04.005006007 +0000 UTC"),
        ("time.now():in_location(york)", "2026-11-24 17:00:00.5 -0500 EST"),
        ("time.unix(-1, -1)", "1969-12-31 23:59:58.999999999 +0000 UTC"),
        ("at:in_location(paris):location()", "Europe/Paris"),
    ],
)
def test_arithmetic(tmp_path: Path, expression: str, text: str) -> None:
    assert evaluate(tmp_path, f"tostring({expression})") == text


def test_times_compare_by_the_point_in_time(tmp_path: Path) -> None:
    expression = """(function()
      local there, later = at:in_location(york), at:add(1)
      return {at == there, at:equal(there), at < later, later > at, at <= there, at:before(later),
              later:after(at), at ~= later, at:after(there), at == 5, at == {}}
    end)()"""
    assert evaluate(tmp_path, expression) == [True] * 8 + [False] * 3


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        ("0", "0s"),
        ("999", "999ns"),
        ("1500", "1.5µs"),
        ("time.SECOND - 1", "999.999999ms"),
        ("time.SECOND", "1s"),
        ("90 * time.MINUTE", "1h30m0s"),
        ("61.25 * time.SECOND", "1m1.25s"),
        ("-time.HOUR", "-1h0m0s"),
        ("1.9", "1ns"),
        ("-1.9", "-1ns"),
        ('"100h1us"', "100h0m0.000001s"),
    ],
)
def test_a_duration_is_written_as_in_go(tmp_path: Path, duration: str, text: str) -> None:
    assert evaluate(tmp_path, f"tostring(time.parse_duration({duration}))") == text


def test_durations_calculate_with_numbers(tmp_path: Path) -> None:
    expression = """(function()
      local d = time.parse_duration("90s")
      local results = {d + time.SECOND, 2 * d, d / 4, d - d, -d, d // 7, d % time.MINUTE, d * 0.5}
      for i, each in ipairs(results) do results[i] = tostring(each) end
      return {results, d / d, d // (d / 4), d == time.parse_duration("1m30s"), d < 91 * time.SECOND,
              time.MINUTE <= d, d == 90 * time.SECOND, "took " .. d}
    end)()"""
    assert evaluate(tmp_path, expression) == [
        ["1m31s", "3m0s", "22.5s", "0s", "-1m30s", "12.857142857s", "30s", "45s"],
        1.0, 4, True, True, True, False, "took 1m30s",
    ]  # fmt: skip


def test_a_durations_units(tmp_path: Path) -> None:
    names = ("nanoseconds", "microseconds", "milliseconds", "seconds", "minutes", "hours")
    values = ", ".join(f'time.parse_duration("-90.0015s"):{name}()' for name in names)
    assert evaluate(tmp_path, f"{{{values}}}") == [
        -90_001_500_000, -90_001_500, -90_001, -90.0015, -90.0015 / 60,
        -90_001_500_000 / (3600 * 10**9),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "expression",
    [
        'time.parse_duration("1s") + "x"',
        'time.parse_duration("1s") * time.parse_duration("1s")',
        'time.parse_duration("1s") * 1e300',
        'time.parse_duration("1s").seconds()',
        "at.unix()",
        "at:before(5)",
        "at < 5",
        "time.utc.string()",
    ],
)
def test_misuse_is_an_error_of_the_script(tmp_path: Path, expression: str) -> None:
    with pytest.raises(CallError, match=r"main\.lua:\d+: "):
        evaluate(tmp_path, f"{{{expression}}}")


@pytest.mark.parametrize(
    "expression",
    [
        "at:add({})",
        'at:add("soon")',
        "at:add(1/0)",
        "at:add_date(1.5, 0, 0)",
        "at:add_date(8000, 0, 0)",
        "at:format(5)",
        'at:format(("x"):rep(257))',
        'at:in_location("UTC")',
        "at:round(print)",
        "time.unix(1 << 60, 0)",
        'time.unix("1", 0)',
        "time.date(10000, 1, 1)",
        "time.date(math.maxinteger, math.maxinteger, math.maxinteger)",
        "time.date(2026, 1.5, 1)",
        "time.date()",
        'time.date(2026, 1, 1, 0, 0, 0, 0, "UTC")',
        'time.fixed_zone("X", 86400)',
        "time.fixed_zone(nil, 0)",
        "time.load_location(5)",
    ],
)
def test_arguments_are_checked(tmp_path: Path, expression: str) -> None:
    assert kind_of(tmp_path, expression) == Kind.INVALID


@pytest.mark.parametrize("name", ["Mars/Base", "../etc/passwd", "/etc/passwd", "Europe", "x\\0y"])
def test_an_unknown_location_is_not_found(tmp_path: Path, name: str) -> None:
    assert kind_of(tmp_path, f'time.load_location("{name}")') == Kind.NOT_FOUND


def test_times_at_the_ends_are_shown_everywhere(tmp_path: Path) -> None:
    expression = """{
      time.date(0, 1, 1):in_location(york):format(time.DATE_ONLY),
      time.date(9999, 12, 31, 23):in_location(paris):format(time.DATE_ONLY),
      time.date(0, 1, 1):in_local():unix() == time.date(0, 1, 1):unix(),
    }"""
    assert evaluate(tmp_path, expression) == ["-001-12-31", "10000-01-01", True]


def test_sleep_takes_a_duration(tmp_path: Path) -> None:
    assert evaluate(tmp_path, 'time.sleep(time.parse_duration("0s"))') is True


@pytest.mark.parametrize("value", ["at", "time.utc", 'time.parse_duration("1s")'])
def test_values_cannot_be_changed(tmp_path: Path, value: str) -> None:
    expression = f"""(function()
      local value = {value}
      return {{(pcall(function() value.unix = 1 end)), (pcall(rawset, value, "unix", 1)),
              (pcall(setmetatable, value, {{}}))}}
    end)()"""
    assert evaluate(tmp_path, expression) == [False, False, False]
