"""Attacks on the walls of a VM: what scripts reach, change and hand to the library."""

# ruff: noqa: E501 - an attack is best seen whole

from __future__ import annotations

import pytest

from tests.lua.vms import (
    JSON,
    MIB,
    attack_lua,
    delivery,
    failure_of,
    handle,
    make_vm,
    result_of,
    run,
)
from wippy_lua.call import Call
from wippy_lua.queue.settle import Success

TIMED_OUT = "Timeout: app:f timed out"
OUT_OF_MEMORY = "Internal: app:f reached its memory limit of 16 MiB"


# What is out of reach


def test_bytecode_does_not_load() -> None:
    assert (
        run(r"""
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
    """)
        == Success()
    )


def test_what_could_reach_the_host_is_not_there() -> None:
    names = [
        "python",
        "io",
        "debug",
        "package",
        "dofile",
        "loadfile",
        "os.execute",
        "os.exit",
        "os.getenv",
        "os.remove",
        "os.rename",
        "os.tmpname",
        "os.setlocale",
        "string.dump",
        "collectgarbage.x",
        "warn",
    ]
    for name in names:
        assert (
            run(f"""
        return function()
          local at = _G
          for part in ("{name}"):gmatch("[^.]+") do
            at = type(at) == "table" and at[part] or nil
          end
          assert(at == nil)
        end
        """)
            == Success()
        ), name


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


@pytest.mark.parametrize("library", ["coroutine", "string", "table", "utf8", "errors"])
def test_a_library_shows_all_it_has_before_its_first_use(library: str) -> None:
    source = f"""
        return function()
          local count = 0
          for name, value in pairs({library}) do
            assert({library}[name] == value)
            count = count + 1
          end
          assert(count > 5, count)
        end
    """
    assert handle(make_vm(source), {}) == Success()


def test_libraries_can_be_walked() -> None:
    assert (
        run("""
    return function()
      local seen = 0
      for name, f in pairs(string) do
        assert(string[name] == f)
        seen = seen + 1
      end
      assert(seen >= 15)
    end
    """)
        == Success()
    )


def test_replaced_globals_do_not_reach_the_host() -> None:
    vm = make_vm("""
    local json, logger, queue = require("json"), require("logger"), require("queue")
    return function()
      local assert, error, new, setmetatable = assert, error, errors.new, setmetatable
      local function evil() error("hijacked") end
      for name in pairs(_G) do
        if name ~= "_G" then _G[name] = evil end
      end
      setmetatable(_G, { __index = evil, __newindex = evil })
      logger.info("x", { a = evil })
      logger:with({ a = 1 }):info("x", { b = {} })
      assert(json.encode({ 1 }) == "[1]")
      assert(queue.publish("app:tasks", { 1 }, { a = "b" }))
      return nil, new("fine")
    end
    """)
    assert failure_of(handle(vm, {"a": 1})).error.message == "fine"
    assert "global 'errors'" in failure_of(handle(vm)).error.message


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
        (
            "setmetatable({}, {__tostring = function() return {} end})",
            "the error could not be shown: its __tostring failed",
        ),
        (
            "setmetatable({}, {__tostring = function() error('again') end})",
            "the error could not be shown: its __tostring failed",
        ),
        (
            "setmetatable({}, {__tostring = true})",
            "the error could not be shown: its __tostring failed",
        ),
        (
            "errors.new(setmetatable({}, {__tostring = function() return 42 end, __index = {message = 'm'}}))",
            "m",
        ),
        (
            "errors.wrap(setmetatable({}, {__tostring = function() return 4 end}), setmetatable({}, {__tostring = function() return 2 end}))",
            "2: 4",
        ),
        ("errors.new({message = '\\xff', details = {['\\xff'] = '\\xfe'}})", "\ufffd"),
        ("errors.new({message = 'f', details = {print}})", "f"),
        (
            "errors.new({message = 'd', details = setmetatable({}, {__pairs = error, __index = error, __len = error})})",
            "d",
        ),
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
    failure = failure_of(
        run("return function() error(setmetatable({}, {__name = ('n'):rep(1 << 20)})) end")
    )
    assert failure.error.message.startswith("nnn")
    assert len(failure.error.message) == 8192


def test_a_stack_overflow_is_an_error() -> None:
    failure = failure_of(run("local function f() return 1 + f() end return f", memory=256 * MIB))
    assert "stack overflow" in failure.error.message
    assert len(failure.stack) < 2000
    lua = "local mt = {} mt.__index = function(t, k) return t[k] end return function() return setmetatable({}, mt).x end"
    assert "stack overflow" in failure_of(run(lua)).error.message
    lua = "return function() local s = 'x' for _ = 1, 300 do s = '(' .. s .. ')' end assert(load('return ' .. s)) end"
    assert (
        "overflow" in failure_of(run(lua)).error.message
        or "C levels" in failure_of(run(lua)).error.message
    )


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
    assert (
        run(
            METAMETHODS
            + """
    local json = require("json")
    return function()
      assert(json.encode(trap) == "[1,2]" and json.encode({ a = trap }) == '{"a":[1,2]}')
      local _, err = json.decode(trap)
      assert(errors.is(err, errors.INVALID))
    end
    """
        )
        == Success()
    )


def test_a_details_table_with_metamethods_is_read_raw() -> None:
    failure = failure_of(
        run(
            METAMETHODS
            + "return function() return nil, errors.new({message = 'm', details = trap}) end"
        )
    )
    assert failure.error.details == {"items": [1, 2]}


def test_an_error_table_with_metamethods_cannot_pretend_to_be_an_error() -> None:
    assert (
        run("""
    return function()
      local fake = setmetatable({}, { __index = errors.new("x"), __name = "error" })
      assert(not errors.is(fake, errors.UNKNOWN))
      assert(errors.call_stack(fake) == nil)
      return fake, fake
    end
    """)
        == Success()
    )


def test_library_functions_take_any_arguments() -> None:
    assert (
        run("""
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
    """)
        == Success()
    )


# load


def test_load_bounds_the_source_and_keeps_its_environment() -> None:
    assert (
        run("""
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
    """)
        == Success()
    )


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
    assert attack_lua(lua, seconds=0.3, memory=64 * MIB) in {
        TIMED_OUT,
        OUT_OF_MEMORY.replace("16", "64"),
    }


def test_methods_of_a_message_pass_nothing_to_the_host_but_plain_values() -> None:
    vm = make_vm("""
    local queue = require("queue")
    return function()
      local msg = queue.message()
      for _, name in ipairs({ "id", "attempt", "headers", "cancelled" }) do
        assert(msg[name](msg, {}, print, coroutine.create(print)) ~= nil)
      end
      for _, bad in ipairs({ {}, print, coroutine.create(print), true }) do
        for _, name in ipairs({ "header", "snooze", "extend" }) do
          local nothing, err = msg[name](msg, bad)
          assert(nothing == nil and errors.is(err, errors.INVALID), name)
        end
        local nothing, err = msg:nack({ delay = bad })
        assert(nothing == nil and errors.is(err, errors.INVALID))
        nothing, err = msg.ack(bad)
        assert(nothing == nil and err:message() == "queue.Message released")
      end
      assert(msg:header("a") == "b" and msg:headers().a == "b")
      local many = {}
      local one = ("x"):rep(1 << 20)
      for i = 1, 1000 do many[i] = one end
      msg:ack(table.unpack(many))
    end
    """)
    assert vm.handle(Call("app:f", delivery=delivery(a="b")), JSON, b"1") == Success()


def test_queue_functions_read_tables_raw() -> None:
    assert (
        run(
            METAMETHODS
            + """
    local queue = require("queue")
    return function()
      local data = setmetatable({ 1, 2 }, { __index = evil, __pairs = evil, __len = evil, __eq = evil })
      assert(queue.publish("app:tasks", data))
      assert(queue.publish("app:tasks", { trap }))
      for _, headers in ipairs({ trap, { a = trap }, { a = {} }, { [1] = "x" }, { x_a = "x" }, { a = print } }) do
        local ok, err = queue.publish("app:tasks", "x", headers)
        assert(not ok and errors.is(err, errors.INVALID))
      end
      for _, options in ipairs({ trap, { delay = trap }, { delay = 0 / 0 }, { delay = -1 }, { delay = 1 / 0 }, { ttl = {} }, { id = 5 } }) do
        local ok, err = queue.publish("app:tasks", "x", nil, options)
        assert(not ok and err)
      end
      assert(not pcall(queue.publish_many, "app:tasks", trap))
      assert(not pcall(queue.publish_many, "app:tasks", setmetatable({}, { __len = function() return "x" end })))
    end
    """
        )
        == Success()
    )


def test_log_fields_may_be_anything() -> None:
    assert (
        run(
            METAMETHODS
            + """
    local logger = require("logger")
    return function()
      local cycle = {}
      cycle.cycle = cycle
      local fields = { { a = print }, { [print] = 1 }, { cycle = cycle }, { 1, 2 }, "text", 5, { ["\xff"] = "\xfe" },
        { level = 1, msg = 2, event = 3, time = 4, logger = 5, caller = 6 }, { n = 1 << 62 }, { f = 0 / 0 } }
      for _, each in ipairs(fields) do
        logger.info("x", each)
        logger:named("n"):with({ a = 1 }):warn(print, each)
      end
      logger.info(setmetatable({}, { __tostring = function() return 42 end }), { a = 1 })
      assert(not pcall(logger.info, "x", setmetatable({ a = 1 }, { __pairs = evil })) == false)
    end
    """
        )
        == Success()
    )


@pytest.mark.parametrize(
    "returned", ["{}", "print", "coroutine.create(print)", "1, {}", "json.null"]
)
def test_what_a_handler_returns_stays_in_its_vm(returned: str) -> None:
    vm = make_vm(f"local json = require('json') return function() return {returned} end")
    assert vm._handle(False, JSON, b"1") is True
