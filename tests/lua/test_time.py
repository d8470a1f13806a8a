"""The Lua module `time`."""

from __future__ import annotations

import time
from pathlib import Path

import gevent
import pytest

from tests.lua.running import host_of
from wippy_lua.errors import CallError, ConfigError, Kind
from wippy_lua.host import Host
from wippy_lua.testing import VirtualClock

REQUIRE = 'local time = require("time")\n'

SLEEPERS = """\
- {name: top, kind: function.lua, modules: [time], source: file://top.lua}
- {name: nap, kind: function.lua, modules: [time], source: file://nap.lua}
- name: unhooked
  kind: function.lua
  modules: [time]
  source: file://nap.lua
  limits: {preempt: false}
"""


def evaluate(folder: Path, expression: str, clock: VirtualClock | None = None) -> object:
    main = f"{REQUIRE}return {{main = function() return {expression} end}}"
    return host_of(folder, main=main, clock=clock).run_main()


def test_constants_are_nanoseconds(tmp_path: Path) -> None:
    names = (
        "time.NANOSECOND, time.MICROSECOND, time.MILLISECOND, time.SECOND, time.MINUTE, time.HOUR"
    )
    assert evaluate(tmp_path, f"{{{names}}}") == [
        1,
        10**3,
        10**6,
        10**9,
        60 * 10**9,
        3600 * 10**9,
    ]


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [
        ("3 * time.SECOND", 3.0),
        ("1.5 * time.SECOND", 1.5),
        ('"1h30m"', 5400.0),
        ('"250ms"', 0.25),
        ("365 * 24 * time.HOUR", 365 * 86400.0),
    ],
)
def test_sleep_lasts_as_long_as_it_says(tmp_path: Path, duration: str, seconds: float) -> None:
    clock = VirtualClock()
    woken: list[object] = []
    host = host_of(
        tmp_path,
        main=f"{REQUIRE}return {{main = function() return time.sleep({duration}) end}}",
        clock=clock,
    )
    sleeper = gevent.spawn(lambda: woken.append(host.run_main()))
    clock.advance(seconds - 0.01)
    assert woken == []
    clock.advance(0.02)
    sleeper.get(timeout=5)
    assert woken == [True]


def test_sleeping_for_no_time_returns_at_once(tmp_path: Path) -> None:
    assert evaluate(tmp_path, '{time.sleep(0), (time.sleep("0"))}', VirtualClock()) == [True, True]


@pytest.mark.parametrize(
    "duration",
    [
        "-1",
        '"-1s"',
        "1/0",
        "-1/0",
        "0/0",
        "math.maxinteger",
        "1e300",
        '"8761h"',
        '"soon"',
        '""',
        '"5"',
        '"5."',
        '"\\xff"',
        '("9"):rep(100000) .. "s"',
        "nil",
        "true",
        "{}",
        "print",
    ],
)
def test_what_is_no_duration_is_invalid(tmp_path: Path, duration: str) -> None:
    result = evaluate(tmp_path, f"problem(time.sleep({duration}))")
    assert isinstance(result, dict)
    assert (result["kind"], result["retryable"]) == (Kind.INVALID, False)
    assert result["message"].startswith("duration must be")
    assert len(result["message"]) < 250


def test_a_sleeping_handler_lets_others_run(tmp_path: Path) -> None:
    clock = VirtualClock()
    host = host_of(tmp_path, main=f'{REQUIRE}time.sleep("1s")', clock=clock)
    sleepers = [gevent.spawn(host.run_main) for _ in range(20)]
    clock.advance(1.0)
    gevent.joinall(sleepers, timeout=5, raise_error=True)
    assert all(sleeper.successful() for sleeper in sleepers)


@pytest.mark.parametrize("function", ["app:nap", "app:unhooked"])
def test_a_call_ends_at_its_deadline_inside_a_sleep(tmp_path: Path, function: str) -> None:
    host = sleepers(tmp_path)
    began = time.monotonic()
    with pytest.raises(CallError) as caught:
        host.call(function, "1h", timeout=0.05)
    assert caught.value.kind is Kind.TIMEOUT
    assert 0.04 < time.monotonic() - began < 5


def test_a_sleep_at_a_modules_top_level_ends_with_the_time_to_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wippy_lua.functions.LOAD_SECONDS", 0.05)
    with pytest.raises(ConfigError, match="app:top timed out"):
        sleepers(tmp_path, top='require("time").sleep("1h") return print')


def test_a_handler_cannot_catch_the_end_of_its_sleep(tmp_path: Path) -> None:
    source = 'local time = require("time") return function() pcall(time.sleep, "1h") return 1 end'
    with pytest.raises(CallError) as caught:
        sleepers(tmp_path, top=source).call("app:top", timeout=0.05)
    assert caught.value.kind is Kind.TIMEOUT


def test_now_is_the_clocks_time(tmp_path: Path) -> None:
    clock = VirtualClock(1_795_557_600.5)
    expression = "{time.now():unix(), time.now():unix_nano(), time.now():format_rfc3339()}"
    assert evaluate(tmp_path, expression, clock) == [
        1_795_557_600,
        1_795_557_600_500_000_000,
        "2026-11-24T22:00:00Z",
    ]


def test_a_time_cannot_be_changed(tmp_path: Path) -> None:
    expression = """(function()
      local now = time.now()
      return {pcall(function() now.unix = 1 end), pcall(rawset, now, "unix", 1),
              pcall(setmetatable, now, {})}
    end)()"""
    result = evaluate(tmp_path, expression)
    assert isinstance(result, list)
    assert result[:2] == [False, False]
    assert result[2] is False


def test_a_method_called_with_a_dot_is_an_error_of_the_script(tmp_path: Path) -> None:
    with pytest.raises(CallError, match=r"main\.lua:\d+: not a time\.Time"):
        evaluate(tmp_path, "{time.now().unix_nano()}")


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1m30s", 90 * 10**9),
        ("1ns", 1),
        ("1.5us", 1500),
        ("0", 0),
        ("8760h", 8760 * 3600 * 10**9),
        ("-1.5s", -1_500_000_000),
        ("100000h1ns", 360_000_000_000_000_001),
        (".5ms", 500_000),
    ],
)
def test_parse_duration_returns_nanoseconds(tmp_path: Path, text: str, nanoseconds: int) -> None:
    result = evaluate(tmp_path, f'{{time.parse_duration("{text}"):nanoseconds()}}')
    assert result == [nanoseconds]
    assert isinstance(result, list)
    assert isinstance(result[0], int)


@pytest.mark.parametrize(
    "argument", ['"1"', '"-"', '""', '"1y"', '"2562048h"', '"1h 1m"', '"."', "1e300", "0/0", "nil"]
)
def test_parse_duration_refuses_what_is_none(tmp_path: Path, argument: str) -> None:
    result = evaluate(tmp_path, f"problem(time.parse_duration({argument}))")
    assert isinstance(result, dict)
    assert result["kind"] == Kind.INVALID


def sleepers(folder: Path, *, top: str = "return print") -> Host:
    (folder / "nap.lua").write_text(
        'local time = require("time") return function(d) return time.sleep(d) end'
    )
    (folder / "top.lua").write_text(top)
    return host_of(folder, entries=SLEEPERS)
