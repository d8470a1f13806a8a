"""The Lua module `store`."""

from __future__ import annotations

from pathlib import Path

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


@pytest.mark.parametrize("call", ["get('k')", "set('k', 1)", "has('k')", "delete('k')"])
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


@pytest.mark.parametrize("effect", ["set('k', 1)", "delete('k')"])
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
