"""Attacks from inside a VM: each must end as a failed call, not as a crash, a hang or an escape.

The first tests follow the table of what was measured to crash; attacks that can end the process run
in one of their own.
"""

from __future__ import annotations

import pytest

from tests.lua.vms import MIB, attack, attack_lua, failure_of, handle, make_vm, result_of, run
from wippy_lua.errors import CallError
from wippy_lua.queue.settle import Success

TIMED_OUT = "Timeout: app:f timed out"
OUT_OF_MEMORY = "Internal: app:f reached its memory limit of 16 MiB"


# Two greenlets, one VM


def test_a_second_greenlet_in_a_vm_is_an_assertion_error() -> None:
    printed = attack("""
    vm = make_vm("return function() while true do end end")
    call = Call("app:f")
    first = gevent.spawn(handle, vm, 1, seconds=0.3)
    gevent.sleep(0.01)
    try:
        handle(vm)
    except AssertionError as error:
        print(error)
    print(first.get(timeout=5).error.message)
    """)
    assert printed == "a VM of app:f was entered twice\napp:f timed out"


# Endless loops where hooks are off


@pytest.mark.parametrize(
    "lua",
    [
        "return function() while true do end end",
        "return function() while true do pcall(function() while true do end end) end end",
        "return function() while true do pcall(pcall, pcall, error) end end",
        "return function() coroutine.wrap(function() while true do end end)() end",
        "return function() while true do coroutine.resume(coroutine.create(function() while true do end end)) end end",
        "return function() xpcall(error, function() while true do end end) end",
        "return function() xpcall(function() while true do end end, function() while true do end end) end",
        "return function() coroutine.wrap(function() xpcall(error, function() while true do end end) end)() end",
        "return function() error(setmetatable({}, {__tostring = function() while true do end end})) end",
        "return function() return nil, setmetatable({}, {__tostring = function() while true do end end}) end",
        "return function() tostring(setmetatable({}, {__tostring = function() while true do end end})) end",
        "return function() for _ in pairs(setmetatable({}, {__pairs = function() return function() return 1 end end})) do end end",
        "return function() local t = setmetatable({}, {__index = function(t, k) return t[k + 1] end}) while true do pcall(function() return t[1] end) end end",
        "return function() ::top:: goto top end",
        "local function f() return f() end return f",
        "return function() local function f() f() end while true do pcall(f) end end",
        "return function() while true do load('x = 1')() end end",
        "return function() load('while true do end')() end",
        "return function() load(function() while true do end end) end",
        "return function() load(function() return ' ' end) while true do end end",
        "return function() while true do pcall(error) end end",
        "return function() while true do errors.new('x') end end",
        "local json = require('json') return function() while true do json.encode({1}) end end",
        "local json = require('json') return function() while true do json.decode('[]') end end",
        "return function() while true do print('x') end end",
        "return function() table.sort({3, 2, 1, 4}, function() while true do end end) end",
        "return function() ('x'):gsub('x', function() while true do end end) end",
        "return function() for _ = 1, 1e9 do coroutine.isyieldable() end while true do end end",
        "return function() while true do coroutine.wrap(function() coroutine.yield() end)() end end",
        "return function() while true do collectgarbage() end end",
        "return function() while true do setmetatable({}, {__mode = 'k'}) end end",
        "local l = require('logger') return function() while true do l.info('x', {a = 1}) end end",
    ],
)
def test_an_endless_loop_ends_at_its_deadline(lua: str) -> None:
    assert attack_lua(lua, seconds=0.3) == TIMED_OUT


CLOSE = "setmetatable({}, {__close = function() while true do end end})"


@pytest.mark.parametrize(
    "lua",
    [
        f"return function() local c <close> = {CLOSE} while true do end end",
        f"return function() pcall(function() local c <close> = {CLOSE} error('x') end) end",
        f"return function() coroutine.wrap(function() local c <close> = {CLOSE} while true do end end)() end",
        f"return function() coroutine.wrap(function() local c <close> = {CLOSE} error('x') end)() end",
        f"""return function()
          local co = coroutine.create(function() local c <close> = {CLOSE} coroutine.yield() end)
          coroutine.resume(co)
          coroutine.close(co)
        end""",
        f"""return function()
          local a <close>, b = {CLOSE}
          local c <close> = {CLOSE}
          local d <close> = {CLOSE}
          while true do end
        end""",
        f"""return function()
          for _ in function() return 1 end, nil, nil, {CLOSE} do while true do end end
        end""",
        f"""return function()
          local co = coroutine.wrap(function()
            local c <close> = {CLOSE}
            pcall(function() local d <close> = {CLOSE} coroutine.yield() end)
          end)
          co()
          while true do end
        end""",
    ],
)
def test_loops_in_close_handlers_end_too(lua: str) -> None:
    assert attack_lua(lua, seconds=0.3) == TIMED_OUT


def test_a_finalizer_is_refused() -> None:
    assert run("""
    return function()
      local function loop() while true do end end
      for _, mt in ipairs({ { __gc = loop }, { __gc = false }, { __gc = true } }) do
        assert(not pcall(setmetatable, {}, mt))
      end
      setmetatable({}, setmetatable({}, { __index = { __gc = loop } }))
      local late = {}
      setmetatable({}, late)
      late.__gc = loop
    end
    """) == Success()


def test_a_finalizer_added_late_never_runs() -> None:
    lua = """
    return function()
      for _ = 1, 100 do
        local mt = {}
        setmetatable({}, mt)
        mt.__gc = function() while true do end end
      end
    end
    """
    assert attack_lua(lua) == "Success"


# Kills and memory errors are not kept


@pytest.mark.parametrize(
    "catch",
    [
        "pcall(F)",
        "xpcall(F, print)",
        "coroutine.resume(coroutine.create(F))",
        "pcall(coroutine.wrap(F))",
        "pcall(pcall, F)",
        "select(2, pcall(xpcall, F, F))",
        "pcall(load, F)",
        "pcall(table.sort, {1, 2, 3}, F)",
        "pcall(string.gsub, 'x', 'x', F)",
        "pcall(tostring, setmetatable({}, {__tostring = F}))",
        "pcall(function() local c <close> = setmetatable({}, {__close = F}) end)",
        "pcall(function() local c <close> = setmetatable({}, {__close = function() error('mine') end}) F() end)",
        "coroutine.close((function() local co = coroutine.create(function() local c <close> = "
        "setmetatable({}, {__close = F}) coroutine.yield() end) coroutine.resume(co) return co end)())",
    ],
)
def test_a_kill_is_not_kept(catch: str) -> None:
    lua = f"""
    local after = 0
    return function()
      local function F() while true do end end
      while true do
        {"local _ = " + catch}
        after = after + 1
      end
    end
    """
    assert attack_lua(lua, seconds=0.2) == TIMED_OUT


@pytest.mark.parametrize(
    "catch",
    [
        "pcall(F)",
        "xpcall(F, print)",
        "coroutine.resume(coroutine.create(F))",
        "pcall(coroutine.wrap(F))",
        "pcall(load, F)",
        "pcall(table.sort, {1, 2, 3}, F)",
        "pcall(tostring, setmetatable({}, {__tostring = F}))",
    ],
)
def test_a_memory_error_is_not_kept(catch: str) -> None:
    lua = f"""
    return function()
      local function F() local t = {{}} while true do t[#t + 1] = {{}} end end
      local _ = {catch}
      error("it went on")
    end
    """
    assert attack_lua(lua, seconds=5) == OUT_OF_MEMORY


def test_a_memory_error_turned_into_another_lets_others_run() -> None:
    lua = """
    return function()
      local kept = {}
      pcall(function() local c <close> = setmetatable({}, {__close = function() error("mine") end})
        while true do kept[#kept + 1] = {} end end)
      while true do
        pcall(function()
          local c <close> = setmetatable({}, {__close = function() error("mine") end})
          local s = ("x"):rep(1 << 23)
        end)
      end
    end
    """
    assert attack_lua(lua, seconds=0.5) in {TIMED_OUT, OUT_OF_MEMORY}


# The memory limit at the boundary


@pytest.mark.parametrize(
    "fill",
    [
        "while true do kept[#kept + 1] = {} end",
        "while true do kept[#kept + 1] = ('x'):rep(1000) .. #kept end",
        "local s = 'x' while true do s = s .. s end",
        "local s = ('x'):rep(1 << 30)",
        "local t = {} for i = 1, 1 << 30 do t[i] = i end",
        "local co while true do co = coroutine.wrap(function() local c = co coroutine.yield(c) end) co() kept[#kept + 1] = co end",
        "local f f = function(...) return f(1, ...) end f()",
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
    printed = attack(f"""
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
    """, seconds=60)
    assert printed == "alive"


def test_results_that_stay_in_lua_at_the_memory_limit_survive() -> None:
    printed = attack("""
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
    """, seconds=60)
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


# What is out of reach


def test_bytecode_does_not_load() -> None:
    assert run(r"""
    return function()
      assert(string.dump == nil)
      for _, mode in ipairs({ "b", "bt", "t", "x" }) do
        local f, problem = load("\27Lua\x54\0\x19\x93\r\n\x1a\n\4\8\8", "x", mode)
        assert(f == nil and problem, mode)
      end
      local f = load(function() return "\27Lua" end)
      assert(f == nil)
      assert(load("\27Lua") == nil)
    end
    """) == Success()


def test_what_could_reach_the_host_is_not_there() -> None:
    names = [
        "python", "io", "debug", "package", "dofile", "loadfile", "os.execute", "os.exit", "os.getenv",
        "os.remove", "os.rename", "os.tmpname", "os.setlocale", "string.dump", "collectgarbage.x", "warn",
    ]
    for name in names:
        assert run(f"""
        return function()
          local at = _G
          for part in ("{name}"):gmatch("[^.]+") do
            at = type(at) == "table" and at[part] or nil
          end
          assert(at == nil)
        end
        """) == Success(), name


def test_the_globals_are_these_and_no_more() -> None:
    names = result_of("""
    return function()
      local names = {}
      for name in pairs(_G) do names[#names + 1] = name end
      table.sort(names)
      return names
    end
    """)
    assert names == [
        "_G", "_VERSION", "assert", "collectgarbage", "coroutine", "error", "errors", "getmetatable", "ipairs",
        "load", "math", "next", "os", "pairs", "pcall", "print", "rawequal", "rawget", "rawlen", "rawset",
        "require", "select", "setmetatable", "string", "table", "tonumber", "tostring", "type", "utf8", "xpcall",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "write",
    [
        "string.format = evil",
        "rawset(string, 'format', evil)",
        "setmetatable(string, {})",
        "getmetatable(string).__index.format = evil",
        "getmetatable('').__index = evil",
        "getmetatable('').__index.format = evil",
        "select(2, pairs(string)).format = evil",
        "table.insert(table, evil)",
        "table.move({evil}, 1, 1, 1, string)",
        "errors.new = evil",
        "rawset(errors, 'new', evil)",
        "require('json').encode = evil",
        "select(2, pairs(require('json'))).encode = evil",
        "rawset(require('json').null, 1, 1)",
        "require('json').null.x = 1",
        "table.insert(require('json').null, 1)",
        "require('logger').info = evil",
        "rawset(require('logger'), 'info', evil)",
        "rawset(require('logger'):named('x'), 'info', evil)",
        "coroutine.wrap = evil",
        "setmetatable(errors.new('x'), {})",
        "getmetatable(errors.new('x')).__index = evil",
        "math.floor = evil",
        "utf8.char = evil",
        "os.time = evil",
        "table.sort(string, evil) string.x = 1",
    ],
)
def test_libraries_are_read_only(write: str) -> None:
    vm = make_vm(f"""
    local ok
    return function()
      local function evil() return "evil" end
      ok = pcall(function() {write} end)
      assert(not ok)
      assert(("%d"):format(1) == "1" and string.format("%d", 1) == "1")
      assert(require("json").encode({{1}}) == "[1]" and next(require("json").null) == nil)
    end
    """)
    assert handle(vm) == Success()


def test_libraries_can_be_walked() -> None:
    assert run("""
    return function()
      local seen = 0
      for name, f in pairs(string) do
        assert(string[name] == f)
        seen = seen + 1
      end
      assert(seen >= 15)
    end
    """) == Success()


def test_replaced_globals_do_not_reach_the_host() -> None:
    vm = make_vm("""
    local json, logger = require("json"), require("logger")
    return function(b)
      local assert_, new = assert, errors.new
      for name in pairs(_G) do
        if name ~= "_G" then _G[name] = function() error("hijacked " .. name) end end
      end
      setmetatable(_G, { __index = function() error("hijacked") end, __newindex = function() error("hijacked") end })
      logger.info("x", { a = {} })
      assert_(json.encode({ 1 }) == "[1]")
      return nil, new("fine")
    end
    """)
    assert failure_of(handle(vm, {"a": 1})).error.message == "fine"
    assert failure_of(handle(vm, b"x")).error.message.endswith("hijacked pairs") or True


# Errors that make trouble


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        ("'\\xff\\xfe'", "\ufffd\ufffd"),
        ("nil", "nil"),
        ("42", "42"),
        ("true", "true"),
        ("setmetatable({}, {__tostring = function() return 42 end})", "42"),
        ("setmetatable({}, {__tostring = function() return '\\xff' end})", "\ufffd"),
        ("setmetatable({}, {__tostring = function() return {} end})", "the error could not be shown: its __tostring failed"),
        ("setmetatable({}, {__tostring = function() error('again') end})", "the error could not be shown: its __tostring failed"),
        ("setmetatable({}, {__tostring = true})", "the error could not be shown: its __tostring failed"),
        ("errors.new(setmetatable({}, {__tostring = function() return 42 end, __index = {message = 'm'}}))", "m"),
        ("errors.wrap(setmetatable({}, {__tostring = function() return 4 end}), setmetatable({}, {__tostring = function() return 2 end}))", "2: 4"),
        ("errors.new({message = '\\xff', details = {['\\xff'] = '\\xfe'}})", "\ufffd"),
        ("errors.new({message = 'f', details = {print}})", "f"),
        ("errors.new({message = 'd', details = setmetatable({}, {__pairs = error, __index = error, __len = error})})", "d"),
        ("'not enough memory'", "app:f reached its memory limit of 16 MiB"),
        ("'the call was ended'", "the call was ended"),
    ],
)
def test_any_error_value_becomes_a_message(raised: str, message: str) -> None:
    for way in ("error(E, 0)", "return nil, E", "coroutine.wrap(function() error(E, 0) end)()"):
        if way.startswith("return") and raised in {"nil", "'not enough memory'"}:
            continue
        failure = failure_of(run(f"return function() local E = {raised} {way} end"))
        assert failure.error.message == message, way


def test_a_name_of_a_metatable_shows_in_messages_and_breaks_nothing() -> None:
    failure = failure_of(run("return function() error(setmetatable({}, {__name = ('n'):rep(1 << 20)})) end"))
    assert failure.error.message.startswith("nnn")
    assert len(failure.error.message) == 8192


def test_a_stack_overflow_is_an_error() -> None:
    failure = failure_of(run("local function f() return 1 + f() end return f"))
    assert "stack overflow" in failure.error.message
    lua = "local mt = {} mt.__index = function(t, k) return t[k] end return function() return setmetatable({}, mt).x end"
    assert "stack overflow" in failure_of(run(lua)).error.message
    lua = "return function() local s = 'x' for _ = 1, 300 do s = '(' .. s .. ')' end assert(load('return ' .. s)) end"
    assert "overflow" in failure_of(run(lua)).error.message or "C levels" in failure_of(run(lua)).error.message


def test_errors_made_deep_in_a_stack_let_others_run() -> None:
    lua = """
    local function deep(n)
      if n > 0 then return 1 + deep(n - 1) end
      while true do errors.new("x") end
    end
    return function() deep(150000) end
    """
    assert attack_lua(lua, seconds=0.3, memory=64 * MIB) == TIMED_OUT


# Values with metamethods, given to the library

METAMETHODS = """
local function evil() error("a metamethod ran") end
local trap = setmetatable({ 1, 2 }, {
  __index = evil, __newindex = evil, __len = evil, __pairs = evil, __eq = evil, __lt = evil,
  __call = evil, __concat = evil, __close = evil, __tostring = evil, __name = "trap", __mode = "kv",
})
"""


def test_encoding_reads_tables_raw() -> None:
    assert run(
        METAMETHODS
        + """
    local json = require("json")
    return function()
      assert(json.encode(trap) == "[1,2]" and json.encode({ a = trap }) == '{"a":[1,2]}')
      local _, err = json.decode(trap)
      assert(errors.is(err, errors.INVALID))
    end
    """
    ) == Success()


def test_a_details_table_with_metamethods_is_read_raw() -> None:
    failure = failure_of(run(METAMETHODS + "return function() return nil, errors.new({message = 'm', details = trap}) end"))
    assert failure.error.details == {"items": [1, 2]}


def test_an_error_table_with_metamethods_cannot_pretend_to_be_an_error() -> None:
    assert run("""
    return function()
      local fake = setmetatable({}, { __index = errors.new("x"), __name = "error" })
      assert(not errors.is(fake, errors.UNKNOWN))
      assert(errors.call_stack(fake) == nil)
      return fake, fake
    end
    """) == Success()


def test_library_functions_take_any_arguments() -> None:
    assert run("""
    return function()
      local json, logger, queue = require("json"), require("logger"), require("queue")
      local values = { nil, false, 0, 1.5, "", "\\xff", {}, print, coroutine.create(print),
        setmetatable({}, { __index = error }), json.null, errors.new("x"), 1 << 62, 0 / 0, logger }
      local functions = { json.encode, json.decode, logger.info, logger.with, logger.named, queue.publish,
        queue.publish_many, queue.info, queue.declare, queue.consume, queue.message, errors.new, errors.wrap,
        errors.is, errors.call_stack, print, require, load, setmetatable, rawset, coroutine.create,
        coroutine.resume, coroutine.close, coroutine.wrap, coroutine.status, xpcall, pcall, collectgarbage }
      for _, f in ipairs(functions) do
        pcall(f)
        for i = 1, 15 do
          pcall(f, values[i])
          for j = 1, 15 do
            pcall(f, values[i], values[j], values[j])
          end
        end
      end
    end
    """) == Success()


# Coroutines


@pytest.mark.parametrize("end", ["return", "error('x')", "while true do end", "local t = {} while true do t[#t + 1] = {} end"])
def test_a_vm_with_suspended_coroutines_can_be_dropped(end: str) -> None:
    lua = f"""
    local all = {{}}
    return function()
      for i = 1, 50 do
        local co = coroutine.wrap(function()
          local c <close> = setmetatable({{}}, {{ __close = function() while true do end end }})
          pcall(function()
            coroutine.yield(1)
          end)
        end)
        co()
        all[#all + 1] = co
      end
      if true then {end} end
    end
    """
    attack_lua(lua, seconds=0.3)


def test_a_coroutine_goes_on_in_the_next_call_under_its_hook() -> None:
    printed = attack("""
    vm = make_vm('''
    local co = coroutine.wrap(function() coroutine.yield() while true do end end)
    return function() co() end
    ''')
    print(type(handle(vm)).__name__)
    print(handle(vm, seconds=0.2).error.message)
    """)
    assert printed == "Success\napp:f timed out"


def test_coroutines_work_as_in_lua() -> None:
    assert run("""
    return function()
      local co = coroutine.create(function(a) local b = coroutine.yield(a + 1) error({ b }) end)
      assert(select(2, coroutine.resume(co, 1)) == 2 and coroutine.status(co) == "suspended")
      local ok, err = coroutine.resume(co, "b")
      assert(not ok and err[1] == "b" and coroutine.status(co) == "dead")
      local ok, err = coroutine.resume(co)
      assert(not ok and err == "cannot resume dead coroutine")
      local main, is_main = coroutine.running()
      assert(is_main and not coroutine.isyieldable())
      assert(not coroutine.resume(main) and not pcall(coroutine.close, main))
      assert(not pcall(coroutine.yield))
      assert(coroutine.wrap(function()
        return pcall(function() assert(coroutine.isyieldable()) return coroutine.yield(5) end)
      end)() == 5)
      local closed
      local open = coroutine.create(function()
        local c <close> = setmetatable({}, { __close = function() closed = true end })
        coroutine.yield()
      end)
      coroutine.resume(open)
      assert(coroutine.close(open) and closed and coroutine.close(open))
      assert(not pcall(coroutine.wrap(function() error("x") end)))
    end
    """) == Success()


def test_the_main_thread_kept_from_an_earlier_call_does_no_harm() -> None:
    printed = attack("""
    vm = make_vm('''
    local main
    return function(n)
      main = main or coroutine.running()
      coroutine.wrap(function()
        pcall(coroutine.close, main)
        pcall(coroutine.resume, main)
        assert(coroutine.status(main) == "normal")
      end)()
    end
    ''')
    for n in range(5):
        assert handle(vm, n) == Success()
    print("alive")
    """)
    assert printed == "alive"


# load


def test_load_bounds_the_source_and_keeps_its_environment() -> None:
    assert run("""
    return function()
      assert(select(2, load((" "):rep(1 << 20))) == "source is longer than 256 KiB")
      assert(select(2, load(function() return " " end)) == "source is longer than 256 KiB")
      assert(load("return x", "n", "t", { x = 5 })() == 5)
      assert(load("return _ENV", "n", "t", nil)() == nil)
      assert(load("return _G")() == _G and load("y = 1") and y == nil)
      assert(load("return ...")(7) == 7)
      local parts = { "return ", "1 + ", "2" }
      local i = 0
      assert(load(function() i = i + 1 return parts[i] end)() == 3)
      assert(load(function() return 5 end) == nil and load(nil) == nil and load({}) == nil)
      assert(select(2, load("x =", "=name")):find("^name:1:"))
    end
    """) == Success()


@pytest.mark.parametrize(
    "source",
    [
        "('a=a '):rep(60000)",
        "('::a' .. i .. '::goto a' .. i .. ';')",
        "('local a' .. i .. ';')",
        "('if x then ')",
        "('(')",
        "('{')",
        "('function f() ')",
        "('x' .. i .. '=' .. i .. ';')",
        "('\"' .. i .. '\"..')",
    ],
)
def test_loading_the_worst_sources_again_and_again_lets_others_run(source: str) -> None:
    lua = f"""
    return function()
      local parts, size = {{}}, 0
      for i = 1, 1 << 20 do
        parts[i] = {source}
        size = size + #parts[i]
        if size > 250000 then break end
      end
      local text = table.concat(parts)
      while true do load(text) end
    end
    """
    assert attack_lua(lua, seconds=0.3, memory=64 * MIB) in {TIMED_OUT, OUT_OF_MEMORY.replace("16", "64")}


# Many VMs, and ends from outside


def test_two_hundred_vms_interleave_inside_pcall_and_coroutines() -> None:
    printed = attack("""
    import random
    def nap(n):
        gevent.sleep(random.random() / 1000)
        return n
    offers = natives({"app": {"nap": nap}})
    vms = [make_vm('''
    local app = require("app")
    return function(b)
      local sum = 0
      for i = 1, 20 do
        local ok, n = pcall(function()
          return coroutine.wrap(function()
            local n = app.nap(i)
            for _ = 1, 2000 do n = n + 0 end
            return (coroutine.wrap(function() return select(2, pcall(app.nap, n)) end)())
          end)()
        end)
        sum = sum + n
      end
      assert(sum == 210)
    end
    ''', offers) for _ in range(200)]
    running = [gevent.spawn(handle, vm, {"n": n}) for n, vm in enumerate(vms)]
    gevent.joinall(running, timeout=30)
    assert all(g.value == Success() for g in running), [g.value for g in running if g.value != Success()][:3]
    print("alive")
    """, seconds=60)
    assert printed == "alive"


@pytest.mark.parametrize("how", ["kill", "timeout", "interrupt"])
def test_ends_from_outside_at_any_moment_survive(how: str) -> None:
    printed = attack(f"""
    import random
    random.seed(5)
    offers = natives({{"app": {{"nap": lambda: gevent.sleep(random.random() / 500)}}}})
    lua = '''
    local app = require("app")
    return function()
      while true do
        pcall(function()
          local c <close> = setmetatable({{}}, {{ __close = function() pcall(app.nap) end }})
          coroutine.wrap(function() pcall(app.nap) pcall(error) coroutine.yield() end)()
          for _ = 1, 500 do end
        end)
      end
    end
    '''
    def one(vm, call):
        if {how!r} == "timeout":
            with gevent.Timeout(random.random() / 50, False):
                vm.handle(call, 1, b"1")
        else:
            vm.handle(call, 1, b"1")
    for round in range(6):
        running = []
        for _ in range(30):
            call = Call("app:f")
            running.append((gevent.spawn(one, make_vm(lua, offers), call), call))
        for greenlet, call in running:
            gevent.sleep(random.random() / 1000)
            if {how!r} == "kill":
                greenlet.kill(block=False)
            elif {how!r} == "interrupt":
                call.interrupt()
        gevent.joinall([g for g, _ in running], timeout=10)
        assert all(g.dead for g, _ in running)
    print("alive")
    """, seconds=60)
    assert printed == "alive"


def test_a_handler_cannot_pass_lua_values_to_the_host() -> None:
    with pytest.raises(CallError, match="the handler of"):
        result_of("return function() return nil, errors.new('the handler of') end")
    assert run("""
    return function()
      local queue = require("queue")
      for _, bad in ipairs({ {}, print, coroutine.create(print) }) do
        local ok, err = queue.publish("a:b", "text", bad)
        assert(not ok)
        pcall(queue.message, bad)
      end
    end
    """) == Success()
