"""Timers, tickers and channels of the Lua module `time`, on a clock that the test moves."""

from __future__ import annotations

import time
from pathlib import Path

import gevent
import pytest

from tests.lua.running import host_of
from wippy_lua.errors import CallError, Kind
from wippy_lua.host import Host
from wippy_lua.testing import VirtualClock

REQUIRE = 'local time = require("time")\n'


def make(folder: Path, body: str, clock: VirtualClock) -> Host:
    return host_of(folder, main=f"{REQUIRE}return {{main = function() {body} end}}", clock=clock)


def run(folder: Path, body: str, seconds: float = 0.0) -> object:
    """Runs a body whose waits take so many seconds of the clock; returns its result."""
    clock = VirtualClock()
    running = gevent.spawn(make(folder, body, clock).run_main)
    clock.advance(seconds)
    return running.get(timeout=10)


#: Milliseconds of the clock since the body began.
SINCE = """
    local began = time.now()
    local function since(at) return (at or time.now()):sub(began):milliseconds() end
"""


def test_after_comes_once(tmp_path: Path) -> None:
    body = f"""{SINCE}
    local channel = time.after("2s")
    local at = channel:receive()
    local none, err = channel:receive()
    return {{since(at), since(), none == nil, err:kind()}}
    """
    assert run(tmp_path, body, 2) == [2000, 2000, True, Kind.CANCELED]


def test_what_came_before_it_is_received_says_when(tmp_path: Path) -> None:
    body = f"""{SINCE}
    local timer = time.timer(1 * time.SECOND)
    time.sleep("5s")
    return {{timer:stop(), timer:reset("1s"), since(timer:channel():receive()), since()}}
    """
    assert run(tmp_path, body, 6) == [False, False, 6000, 6000]
    body = f"""{SINCE}
    local channel = time.after("1s")
    time.sleep("5s")
    return {{since(channel:receive()), since()}}
    """
    assert run(tmp_path, body, 6) == [1000, 5000]


def test_a_timer_is_stopped_and_put_off(tmp_path: Path) -> None:
    body = f"""{SINCE}
    local timer = time.timer("1s")
    assert(timer:reset(time.parse_duration("3s")) == true)
    local first = since(timer:channel():receive())
    assert(timer:reset("1s") == false)
    assert(timer:stop() == true and timer:stop() == false)
    local _, err = timer:channel():receive()
    return {{first, err:kind(), timer:channel() == timer:channel()}}
    """
    assert run(tmp_path, body, 3) == [3000, Kind.CANCELED, True]


def test_a_ticker_comes_again_and_again_and_waits_for_nobody(tmp_path: Path) -> None:
    body = f"""{SINCE}
    local ticker = time.ticker("1s")
    local channel, seen = ticker:channel(), {{}}
    local function receive() seen[#seen + 1] = since(channel:receive()) end
    receive() receive()
    time.sleep("3500ms")
    receive() receive()
    ticker:reset("2s")
    receive() receive()
    assert(ticker:stop() == true)
    local _, err = channel:receive()
    return {{seen, err:kind(), ticker:reset("1s"), since(channel:receive())}}
    """
    seen = [1000, 2000, 3000, 6000, 8000, 10000]
    assert run(tmp_path, body, 12) == [seen, Kind.CANCELED, False, 11000]


@pytest.mark.parametrize("make_one", ["after", "timer", "ticker", "timer('1s'):reset"])
@pytest.mark.parametrize("duration", ["-1", '"-1s"', "nil", "{}", '"soon"', '"9000h"', "1e300"])
def test_what_is_no_duration_is_invalid(tmp_path: Path, make_one: str, duration: str) -> None:
    verb = make_one.replace(":reset", "")
    call = f"time.{make_one}({duration})" if verb == make_one else f"time.{verb}:reset({duration})"
    result = run(tmp_path, f"return problem({call})")
    assert isinstance(result, dict)
    assert (result["kind"], result["retryable"]) == (Kind.INVALID, False)


def test_a_ticker_cannot_tick_all_the_time(tmp_path: Path) -> None:
    body = "return {problem(time.ticker(0)).kind, problem(time.ticker('1s'):reset(0)).kind}"
    assert run(tmp_path, body) == [Kind.INVALID, Kind.INVALID]


@pytest.mark.parametrize(
    "call", ["timer('1s').stop()", "ticker('1s').channel({})", "after('1s').receive(time)"]
)
def test_a_method_called_with_a_dot_is_an_error_of_the_script(tmp_path: Path, call: str) -> None:
    with pytest.raises(CallError, match=r"main\.lua:\d+: not a time\.\w+: call its methods"):
        run(tmp_path, f"local x = time.{call}")


def test_receivers_let_others_run_and_leave_nothing_behind(tmp_path: Path) -> None:
    clock = VirtualClock()
    host = make(tmp_path, 'return (time.ticker("1s"):channel():receive():unix())', clock)
    waiting = [gevent.spawn(host.run_main) for _ in range(20)]
    clock.advance(1)
    gevent.joinall(waiting, timeout=10, raise_error=True)
    assert {each.value for each in waiting} == {int(clock.time())}
    assert clock._timers == []


def test_a_call_ends_at_its_deadline_while_it_waits_for_a_tick(tmp_path: Path) -> None:
    source = f"{REQUIRE}return function() return time.ticker('1h'):channel():receive() end"
    (tmp_path / "f.lua").write_text(source)
    entry = (
        "- {name: f, kind: function.lua, modules: [time], source: file://f.lua,"
        " limits: {timeout: 50ms}}\n"
    )
    began = time.monotonic()
    with pytest.raises(CallError) as caught:
        host_of(tmp_path, entries=entry).call("app:f")
    assert caught.value.kind is Kind.TIMEOUT
    assert time.monotonic() - began < 5
