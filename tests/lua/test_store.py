"""The Lua module `store`."""

from __future__ import annotations

from pathlib import Path

import gevent
import pytest

from tests.lua.running import host_of
from wippy_lua.errors import CallError, Kind
from wippy_lua.host import Host
from wippy_lua.testing import VirtualClock

ENTRIES = "- {name: cache, kind: store.memory, max_size: 3}\n"
REQUIRE = 'local store = require("store")\nlocal kv = store.get("app:cache")\n'


def make(folder: Path, body: str, clock: VirtualClock | None = None) -> Host:
    main = f"{REQUIRE}return {{main = function() {body} end}}"
    return host_of(folder, entries=ENTRIES, main=main, clock=clock)


def run(folder: Path, body: str) -> object:
    return make(folder, body).run_main()


def evaluate(folder: Path, expression: str) -> object:
    return run(folder, f"return {expression}")


@pytest.mark.parametrize(
    ("value", "back"),
    [
        ('"text"', "text"),
        ('"\\xff\\0bytes"', b"\xff\0bytes"),
        ("7", 7),
        ("7.5", 7.5),
        ("false", False),
        ("true", True),
        ("{1, {a = 2}}", [1, {"a": 2}]),
    ],
)
def test_a_value_comes_back_with_its_type(tmp_path: Path, value: str, back: object) -> None:
    result = evaluate(tmp_path, f'{{kv:set("k", {value}), kv:get("k"), kv:has("k")}}')
    assert result == [True, back, True]
    assert isinstance(result, list)
    assert type(result[1]) is type(back)


def test_an_absent_key_is_nil_without_an_error(tmp_path: Path) -> None:
    counts = 'select("#", kv:get("k")), kv:get("k") == nil, select(2, kv:get("k")) == nil'
    assert evaluate(tmp_path, f'{{{counts}, kv:has("k"), kv:delete("k")}}') == [
        2,
        True,
        True,
        False,
        False,
    ]


def test_delete_tells_whether_there_was_a_value(tmp_path: Path) -> None:
    assert evaluate(tmp_path, '{kv:set("k", 1), kv:delete("k"), kv:delete("k"), kv:has("k")}') == [
        True,
        True,
        False,
        False,
    ]


def test_a_stored_table_is_a_copy(tmp_path: Path) -> None:
    body = """
    local value = {1}
    kv:set("k", value)
    value[1] = 2
    kv:get("k")[1] = 3
    return kv:get("k")
    """
    assert run(tmp_path, body) == [1]


@pytest.mark.parametrize("ttl", ["10", '"10s"', "10.0", '"10"'])
def test_a_value_expires(tmp_path: Path, ttl: str) -> None:
    clock = VirtualClock()
    body = f'if not kv:has("k") then return kv:set("k", 1, {ttl}) end return kv:get("k")'
    host = make(tmp_path, body, clock)
    assert host.run_main() is True
    clock.advance(9)
    assert host.run_main() == 1
    clock.advance(1)
    assert host.run_main() is True


@pytest.mark.parametrize(
    "call",
    [
        "kv:get('')",
        "kv:get(nil)",
        "kv:get(1)",
        "kv:has({})",
        "kv:delete(('k'):rep(1025))",
        "kv:set('', 1)",
        "kv:set('k', nil)",
        "kv:set('k', print)",
        "kv:set('k', 1, 0)",
        "kv:set('k', 1, -1)",
        "kv:set('k', 1, 0/0)",
        "kv:set('k', 1, 'soon')",
        "kv:set('k', 1, '\\xff')",
        "kv:set('k', 1, {})",
        "kv:set('k', 1, '9000h')",
        "kv:set_if_absent('k', nil)",
        "kv:set_if_absent('k', 1, 0)",
        "kv:incr('k', 1.5)",
        "kv:incr('k', '1')",
        "kv:incr('k', 1, {})",
        "kv:incr('', 1)",
        "kv:once('k', nil, print)",
        "kv:once('k', 0, print)",
        "kv:once('k', '1d', 'print')",
        "kv:once('k', '1h')",
        "kv:once('k', '1h', print, 5)",
        "kv:once('k', '1h', print, {wait = {}})",
        "kv:once('k', '1h', print, {wait = -1})",
        "kv:once('', '1h', print)",
        "store.get('')",
        "store.get(nil)",
        "store.get({})",
    ],
)
def test_what_cannot_be_asked_is_invalid(tmp_path: Path, call: str) -> None:
    result = evaluate(tmp_path, f"problem({call})")
    assert isinstance(result, dict)
    assert (result["kind"], result["retryable"]) == (Kind.INVALID, False)


def test_the_longest_key_is_accepted(tmp_path: Path) -> None:
    assert evaluate(tmp_path, "{kv:set(('k'):rep(1024), 1), kv:get(('k'):rep(1024))}") == [True, 1]


def test_an_unknown_store_is_not_found(tmp_path: Path) -> None:
    assert evaluate(tmp_path, 'problem(store.get("app:cash"))') == {
        "kind": Kind.NOT_FOUND,
        "message": "store 'app:cash' not found",
        "retryable": False,
        "details": {"store": "app:cash"},
    }


def test_a_full_store_is_unavailable_and_a_retry_can_help(tmp_path: Path) -> None:
    body = 'for i = 1, 3 do kv:set("k" .. i, i) end return problem(kv:set("k4", 4))'
    result = run(tmp_path, body)
    assert isinstance(result, dict)
    assert (result["kind"], result["retryable"]) == (Kind.UNAVAILABLE, True)
    assert result["details"] == {"store": "app:cache", "max_size": 3}


CALLS = [
    "get('k')",
    "set('k', 1)",
    "set_if_absent('k', 1)",
    "incr('k')",
    "has('k')",
    "delete('k')",
    "once('k', 1, print)",
]


@pytest.mark.parametrize("call", CALLS)
def test_a_released_store_is_invalid_and_its_contents_stay(tmp_path: Path, call: str) -> None:
    body = f"""
    kv:set("k", 7)
    assert(kv:release() and kv:release())
    return {{problem(kv:{call}), store.get("app:cache"):get("k")}}
    """
    result = run(tmp_path, body)
    assert isinstance(result, list)
    assert (result[0]["kind"], result[0]["message"]) == (Kind.INVALID, "store.Store released")
    assert result[1] == 7


def test_more_arguments_than_a_method_has_do_not_reach_the_host(tmp_path: Path) -> None:
    assert evaluate(tmp_path, '{kv:has("k", {}, print), kv:release()}') == [False, True]


def test_a_method_called_with_a_dot_is_an_error_of_the_script(tmp_path: Path) -> None:
    with pytest.raises(CallError, match=r"main\.lua:\d+: not a store"):
        evaluate(tmp_path, '{kv.get("k")}')


def counter_app(folder: Path, source: str) -> Host:
    (folder / "count.lua").write_text(source)
    functions = "".join(
        f"- {{name: {name}, kind: function.lua, modules: [store], source: file://count.lua}}\n"
        for name in ("one", "two")
    )
    return host_of(folder, entries=ENTRIES + functions)


def test_all_functions_share_a_store(tmp_path: Path) -> None:
    host = counter_app(
        tmp_path,
        """
        local kv = require("store").get("app:cache")
        return function()
          local count = (kv:get("count") or 0) + 1
          kv:set("count", count)
          return count
        end
        """,
    )
    with host:
        assert [host.call("app:one"), host.call("app:two"), host.call("app:one")] == [1, 2, 3]


@pytest.mark.parametrize(
    "effect",
    ["set('k', 1)", "set_if_absent('k', 1)", "incr('k')", "delete('k')", "once('k', 1, print)"],
)
def test_a_module_changes_nothing_while_it_loads(tmp_path: Path, effect: str) -> None:
    source = f"""
    local _, err = require("store").get("app:cache"):{effect}
    return function() return err:kind() end
    """
    assert counter_app(tmp_path, source).call("app:one") == Kind.INVALID


def test_a_stopped_host_has_empty_stores(tmp_path: Path) -> None:
    body = 'local had = kv:has("k") kv:set("k", 1, 100) return {had}'
    host = make(tmp_path, body, VirtualClock())
    with host:
        assert [host.run_main(), host.run_main()] == [[False], [True]]
    assert host.run_main() == [False]


@pytest.mark.parametrize("call", ["set('k', large)", "once('k', 1, function() return large end)"])
def test_a_value_over_its_limit_is_invalid(tmp_path: Path, call: str) -> None:
    (tmp_path / "f.lua").write_text(
        f"""
        local kv = require("store").get("app:cache")
        return function()
          local large = ("x"):rep(16 * 1024 * 1024)
          local _, err = kv:{call}
          return err:kind() .. tostring(kv:set_if_absent("k", 1))
        end
        """
    )
    entry = (
        "- {name: f, kind: function.lua, modules: [store], source: file://f.lua,"
        " limits: {memory: 128MiB}}\n"
    )
    assert host_of(tmp_path, entries=ENTRIES + entry).call("app:f") == "Invalidtrue"


def test_a_value_is_set_once_if_absent(tmp_path: Path) -> None:
    body = 'return {kv:set_if_absent("k", {1}), kv:set_if_absent("k", {2}), kv:get("k")}'
    assert run(tmp_path, body) == [True, False, [1]]


def test_a_number_counts_from_zero(tmp_path: Path) -> None:
    body = (
        'return {kv:incr("k"), kv:incr("k", 5), kv:incr("k", -10), kv:incr("k", 2.0), kv:get("k")}'
    )
    assert run(tmp_path, body) == [1, 6, -4, -2, -2]


@pytest.mark.parametrize("value", ['"1"', "1.0", "{1}", "true", "math.maxinteger"])
def test_what_is_no_integer_does_not_count(tmp_path: Path, value: str) -> None:
    body = f'kv:set("k", {value}) return {{problem(kv:incr("k")), kv:get("k") == {value}}}'
    result = run(tmp_path, body)
    assert isinstance(result, list)
    assert (result[0]["kind"], result[0]["retryable"]) == (Kind.INVALID, False)
    assert result[1] is (value != "{1}")


# Once

ONCE = """
    local runs = 0
    local function once(fn, ...)
      return kv:once("k", "10s", function() runs = runs + 1 return fn() end, ...)
    end
"""


@pytest.mark.parametrize(
    ("returned", "value"),
    [("7", 7), ("{a = {1}}", {"a": [1]}), ("'text', nil", "text"), ("", True), ("nil", True)],
)
def test_a_function_runs_once_and_its_result_stays(
    tmp_path: Path, returned: str, value: object
) -> None:
    body = f"""{ONCE}
    local function results(value, err, state) return {{value, err == nil, state}} end
    local function fn() return {returned} end
    return {{results(once(fn)), results(once(fn)), runs, kv:has("k"), kv:get("k")}}
    """
    assert run(tmp_path, body) == [[value, True, "ran"], [value, True, "done"], 1, True, value]


def test_a_function_runs_again_when_its_time_is_over_or_its_key_deleted(tmp_path: Path) -> None:
    clock = VirtualClock()
    host = make(tmp_path, 'return select(3, kv:once("k", "10s", function() end))', clock)
    assert [host.run_main(), host.run_main()] == ["ran", "done"]
    clock.advance(10)
    assert [host.run_main(), host.run_main()] == ["ran", "done"]
    again = make(tmp_path, f'{ONCE} once(print) kv:delete("k") once(print) return runs')
    assert again.run_main() == 2


@pytest.mark.parametrize(
    ("returned", "error"),
    [
        ("nil, 'no'", "no"),
        ("false, 'no'", "no"),
        ("false", "the function returned false"),
        ("1, errors.new('no')", "no"),
        ("nil, errors.new({message = 'no', kind = errors.TIMEOUT})", "no"),
        ("print", "a function"),
    ],
)
def test_a_function_that_fails_leaves_its_key_free(
    tmp_path: Path, returned: str, error: str
) -> None:
    body = f"""{ONCE}
    local value, err, state = once(function() return {returned} end)
    assert(value == nil and state == nil)
    once(function() return 1 end)
    return {{tostring(err), runs, kv:get("k")}}
    """
    result = run(tmp_path, body)
    assert isinstance(result, list)
    assert error in result[0]
    assert result[1:] == [2, 1]


def test_a_function_that_raises_leaves_its_key_free_and_the_error_with_its_stack(
    tmp_path: Path,
) -> None:
    body = f"""{ONCE}
    local function fail() error("broken") end
    assert(not pcall(once, fail))
    once(fail)
    """
    with pytest.raises(CallError, match=r"main\.lua:\d+: broken") as caught:
        run(tmp_path, body)
    assert caught.value.stack.splitlines()[1].strip() == "[C]: in function 'error'"
    body = f'{ONCE} pcall(once, function() error("no") end) once(print) return runs'
    assert run(tmp_path, body) == 2


def test_a_function_in_a_coroutine_may_yield_and_be_dropped(tmp_path: Path) -> None:
    body = f"""{ONCE}
    local function fn() return coroutine.yield("paused") end
    local thread = coroutine.create(function() return once(fn) end)
    assert(select(2, coroutine.resume(thread)) == "paused")
    assert(select(2, coroutine.resume(thread, "back")) == "back")
    kv:delete("k")
    local dropped = coroutine.create(function() return once(fn) end)
    coroutine.resume(dropped)
    assert(coroutine.close(dropped))
    return {{select(3, once(print)), runs}}
    """
    assert run(tmp_path, body) == ["ran", 3]


def test_once_inside_itself_is_invalid(tmp_path: Path) -> None:
    body = f"{ONCE} return (once(function() return problem(once(print)) end))"
    result = run(tmp_path, body)
    assert isinstance(result, dict)
    assert (result["kind"], result["retryable"]) == (Kind.INVALID, False)


def once_app(folder: Path, source: str, clock: VirtualClock | None = None) -> Host:
    (folder / "work.lua").write_text(
        f"""
        local kv = require("store").get("app:cache")
        local time = require("time")
        return {{
          work = function(n)
            return kv:once("k", "1h", function() {source} end, {{wait = "3s"}})
          end,
          state = function() return select(3, kv:once("k", "1h", function() end, {{wait = 0}})) end,
        }}
        """
    )
    entries = "".join(
        f"- {{name: {name}, kind: function.lua, method: {name}, modules: [store, time],"
        f" source: file://work.lua, limits: {{timeout: {timeout}}}}}\n"
        for name, timeout in (("work", "200ms" if clock is None else "0"), ("state", "1s"))
    )
    return host_of(folder, entries=ENTRIES + entries, clock=clock)


def test_callers_side_by_side_wait_for_the_one_that_runs(tmp_path: Path) -> None:
    clock = VirtualClock()
    with once_app(tmp_path, 'time.sleep("2s") return n', clock) as host:
        calls = [gevent.spawn(host.call, "app:work", n) for n in range(20)]
        clock.advance(3)
        gevent.joinall(calls, timeout=10, raise_error=True)
        assert [call.value for call in calls] == [0] * 20


def test_a_caller_does_not_wait_for_ever(tmp_path: Path) -> None:
    clock = VirtualClock()
    with once_app(tmp_path, 'time.sleep("10s") return n', clock) as host:
        first, second = (gevent.spawn(host.call, "app:work", n) for n in range(2))
        clock.advance(3.5)
        assert isinstance(second.exception, CallError)
        assert (second.exception.kind, second.exception.retryable) == (Kind.CONFLICT, True)
        clock.advance(7)
        assert first.get(timeout=10) == 0
        assert host.call("app:state") == "done"


@pytest.mark.parametrize("work", ['time.sleep("1m")', "while true do end", 'error("x")'])
def test_a_call_that_ends_frees_what_it_claimed(tmp_path: Path, work: str) -> None:
    with once_app(tmp_path, work) as host:
        with pytest.raises(CallError):
            host.call("app:work", 1)
        gevent.sleep(0)
        assert host.call("app:state") == "ran"
