"""Attacks on the memory limit: reaching it ends a call, wherever it is met, and nothing else.

And what a VM holds that is not attacked.
"""

# ruff: noqa: E501 - an attack is best seen whole

from __future__ import annotations

import pytest

from tests.lua.vms import (
    MIB,
    attack,
    attack_lua,
    failure_of,
    handle,
    make_vm,
    natives,
)
from wippy_lua.queue.settle import Success

pytestmark = pytest.mark.once  # attacks are processes of their own

TIMED_OUT = "Timeout: app:f timed out"
OUT_OF_MEMORY = "Internal: app:f reached its memory limit of 16 MiB"


# The memory limit at the boundary


@pytest.mark.parametrize(
    "fill",
    [
        "while true do kept[#kept + 1] = {} end",
        "while true do kept[#kept + 1] = ('x'):rep(1000) .. #kept end",
        "local s = 'x' while true do s = s .. s end",
        "local s = ('x'):rep(200 << 20)",
        "local t = {} for i = 1, 1 << 30 do t[i] = i end",
        "local co while true do co = coroutine.wrap(function() local c = co coroutine.yield(c) end) co() kept[#kept + 1] = co end",
        "local f f = function() local a, b, c = {}, {}, {} f() kept[1] = a end f()",
        "kept[1] = table.concat(setmetatable({}, {__len = function() return 1 << 40 end, __index = function() return ('x'):rep(1000) end}))",
        "load(('x = 1 '):rep(1 << 22))  while true do kept[#kept + 1] = load(('x = 1 '):rep(1 << 14) .. #kept) end",
        "while true do kept[#kept + 1] = errors.new(('x'):rep(100) .. #kept) end",
        "while true do kept = {kept} end",
        "while true do kept = setmetatable({}, {__index = kept}) end",
        "for i = 1, 1 << 40 do kept['k' .. i] = i end",
    ],
)
def test_filling_the_memory_ends_the_call(fill: str) -> None:
    printed = attack_lua(f"return function() local kept = {{}} {fill} end", seconds=8)
    assert printed == OUT_OF_MEMORY or "stack overflow" in printed, printed


def test_large_bodies_at_every_level_of_memory_use_survive() -> None:
    printed = attack(
        """
    for kib in range(0, 16 * 1024, 640):
        vm = make_vm('''
        local kept = {}
        return function(b)
          if type(b) == "table" then
            while collectgarbage("count") < b.kib do kept[#kept + 1] = ("x"):rep(10000) .. #kept end
          end
        end
        ''')
        handle(vm, {"kib": kib}, seconds=10)
        for size in (10, 10_000, 1_000_000, 8_000_000, 30_000_000):
            handle(vm, b"y" * size, seconds=10)
            handle(vm, {"s": "y" * size, "kib": kib}, seconds=10)
    print("alive")
    """,
        seconds=60,
    )
    assert printed == "alive"


FILLED = """
local kept, app = {}, require("app")
return function(b)
  local size = 10000
  pcall(function()
    while collectgarbage("count") < b.kib do kept[#kept + 1] = ("x"):rep(size) .. #kept end
  end)
  for i = 1, 20 do
    WORK
  end
end
"""


@pytest.mark.parametrize(
    "work",
    [
        "kept[#kept + 1] = app.give(1000000)",
        "kept[#kept + 1] = app.give(3000000)",
        "pcall(app.fail, 100000)",
        "pcall(app.give, ('y'):rep(500000))",
        "kept[#kept + 1] = coroutine.wrap(function() return app.give(1000000) end)()",
        "kept[#kept + 1] = select(2, app.fail(100000))",
        "print(('x'):rep(200000))",
        "pcall(app.give, {})",
        "kept[#kept + 1] = require('queue').publish('a:b', {x = ('y'):rep(300000)})",
        "kept[#kept + 1] = require('json').encode(kept)",
    ],
)
def test_host_functions_at_the_memory_limit_survive(work: str) -> None:
    lua = FILLED.replace("WORK", work)
    printed = attack(
        f"""
    def give(size):
        return "z" * size if isinstance(size, int) else "z" * len(size)
    def fail(size):
        from wippy_lua.errors import WippyError
        raise WippyError("z" * size, details={{"text": "z" * size}})
    offers = natives({{"app": {{"give": give, "fail": fail}}}})
    for kib in range(8 * 1024, 17 * 1024, 256):
        vm = make_vm({lua!r}, offers)
        handle(vm, {{"kib": kib}}, seconds=5)
    print("alive")
    """,
        seconds=60,
    )
    assert printed == "alive"


def test_results_that_stay_in_lua_at_the_memory_limit_survive() -> None:
    printed = attack(
        """
    for kib in range(8 * 1024, 17 * 1024, 256):
        vm = make_vm('''
        local kept = {}
        return function(b)
          while collectgarbage("count") < b.kib do kept[#kept + 1] = ("x"):rep(10000) .. #kept end
          return b.n == 1 and {} or b.n == 2 and print or coroutine.create(print), {}
        end
        ''')
        for n in range(60):
            handle(vm, {"kib": kib, "n": n % 3}, seconds=5)
    print("alive")
    """,
        seconds=60,
    )
    assert printed == "alive"


def test_a_process_survives_a_hundred_memory_failures_in_a_row() -> None:
    printed = attack(f"""
    for n in range(100):
        vm = make_vm("return function() local t = {{}} while true do t[#t + 1] = {{}} end end", memory={2 * MIB})
        outcome = handle(vm, n, seconds=5)
        assert "memory limit" in outcome.error.message, outcome
    print("alive")
    """)
    assert printed == "alive"


def test_one_vm_survives_a_hundred_memory_failures_in_a_row() -> None:
    printed = attack(f"""
    vm = make_vm("return function() local t = {{}} while true do t[#t + 1] = {{}} end end", memory={2 * MIB})
    for n in range(100):
        outcome = handle(vm, n, seconds=5)
        assert "memory limit" in outcome.error.message, outcome
    print("alive")
    """)
    assert printed == "alive"


def test_large_headers_at_the_memory_limit_survive() -> None:
    printed = attack(
        """
    big = delivery(**{f"h{n}": "v" * 100_000 for n in range(40)})
    for kib in range(8 * 1024, 17 * 1024, 512):
        vm = make_vm('''
        local queue = require("queue")
        local kept = {}
        return function(b)
          while collectgarbage("count") < b.kib do kept[#kept + 1] = ("x"):rep(10000) .. #kept end
          for i = 1, 5 do kept[#kept + 1] = queue.message():headers() end
        end
        ''')
        vm.handle(Call("app:f", delivery=big), 1, b'{"kib": %d}' % kib)
    print("alive")
    """,
        seconds=60,
    )
    assert printed == "alive"


def test_the_host_takes_no_more_than_a_few_arguments() -> None:
    # A thousand arguments can be one string in Lua, but are a thousand copies in the host.
    offers = natives({"app": {"take": lambda *values: len(values)}})
    vm = make_vm(
        """
        local app = require("app")
        return function()
          local t = {}
          local one = ("x"):rep(1 << 20)
          for i = 1, 100 do t[i] = one end
          return app.take(table.unpack(t))
        end
        """,
        offers,
    )
    assert "memory limit" in failure_of(handle(vm)).error.message


# What a VM holds


def test_a_thousand_vms_whose_handlers_sleep_fit_into_a_small_process() -> None:
    vm = make_vm(
        'local time = require("time") return function(body) time.sleep("1ms") return body.id end',
        natives(),
    )
    most = 0
    for number in range(300):
        handle(vm, {"id": number, "user": "someone@example.org"})
        most = max(most, vm.memory)
    assert most < 180 * 1024, most  # some 100 KB in use, and garbage of half as much


def test_a_codec_that_a_large_vm_loads_does_not_stop_everybody_to_collect() -> None:
    vm = make_vm(
        """
        local json = require("json")
        return function()
          local kept = {}
          for i = 1, 20000 do kept[i] = {i} end
          local seen = setmetatable({{}}, {__mode = "v"})
          json.encode({1})
          return seen[1] ~= nil or error("all was collected")
        end
        """,
        natives(),
    )
    assert handle(vm, b"") == Success()
