"""Attacks on the hook: nothing in a VM runs for ever, and no end of a call is kept from it."""

# ruff: noqa: E501 - an attack is best seen whole

from __future__ import annotations

import pytest

from tests.lua.vms import JSON, attack, attack_lua, failure_of, make_vm, natives, run
from wippy_lua.call import Call
from wippy_lua.queue.settle import Success

pytestmark = pytest.mark.once  # attacks are processes of their own

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
        "return function() local function f(n) if n > 0 then f(n - 1) end end while true do pcall(f, 20000) end end",
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


def test_a_call_that_ends_deep_in_a_recursion_is_out_at_once() -> None:
    # Each `<close>` handler on the way out used to get a thousand instructions of its own.
    lua = """
    local meta = {__close = function() local _ = 1 + ("x"):rep(99999)() end}
    local function f() local c <close> = setmetatable({}, meta) return 1 + f() end
    return f
    """
    printed = attack(f"""
    vm, begun = make_vm({lua!r}, memory=32 * MIB), time.process_time()
    outcome = handle(vm, seconds=0.1)
    print(outcome.error.message, time.process_time() - begun < 0.6)
    """)
    assert printed == "app:f timed out True"


def test_a_finalizer_is_refused() -> None:
    assert (
        run("""
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
    """)
        == Success()
    )


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


# Coroutines


@pytest.mark.parametrize(
    "end",
    ["return", "error('x')", "while true do end", "local t = {} while true do t[#t + 1] = {} end"],
)
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
    assert (
        run("""
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
    """)
        == Success()
    )


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


# Many VMs, and ends from outside


def test_two_hundred_vms_interleave_inside_pcall_and_coroutines() -> None:
    printed = attack(
        """
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
    """,
        seconds=60,
    )
    assert printed == "alive"


@pytest.mark.parametrize("how", ["kill", "timeout", "interrupt"])
def test_ends_from_outside_at_any_moment_survive(how: str) -> None:
    printed = attack(
        f"""
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
    """,
        seconds=60,
    )
    assert printed == "alive"


def test_a_list_that_claims_to_be_endless_ends_at_the_deadline() -> None:
    lua = """
    local queue = require("queue")
    return function()
      queue.publish_many("app:tasks", setmetatable({}, {
        __len = function() return 1 << 62 end, __index = function() return "x" end,
      }))
    end
    """
    assert attack_lua(lua, seconds=0.2) in {TIMED_OUT, OUT_OF_MEMORY}


def test_a_deadline_that_passes_at_any_instruction_is_a_timeout_or_a_success() -> None:
    # The hook may look between the end of the handler and the moment it is taken off.
    text = (
        "local app = require('app') return function(n) app.pass_deadline() for _ = 1, n do end end"
    )
    calls: list[Call] = []

    def pass_deadline() -> None:
        calls[-1].deadline = 0.0

    offers = natives({"app": {"pass_deadline": pass_deadline}})
    ends = set()
    for count in range(700, 1000):
        calls.append(Call("app:f"))
        outcome = make_vm(text, offers).handle(calls[-1], JSON, str(count).encode())
        ends.add("Success" if outcome == Success() else failure_of(outcome).error.message)
    assert ends == {"Success", "app:f timed out"}


GAP = """
gaps, last = [], [time.monotonic()]
def watch():
    while True:
        gevent.sleep(0.001)
        now = time.monotonic()
        gaps.append(now - last[0])
        last[0] = now
watcher = gevent.spawn(watch)
vm = make_vm({lua!r}, memory=32 * MIB)
gevent.sleep(0.01)
gaps.clear()
outcome = handle(vm, seconds=1.0)
gevent.sleep(0.01)
print(type(outcome).__name__, max(gaps) < {seconds})
"""


@pytest.mark.parametrize(
    "slow",
    [
        "tonumber(s)",
        "tonumber(s, 36)",
        "local _ = s + 1",
        "local _ = s < s .. 'x'",
        "utf8.char(s:byte(1, 400000))",
        "s:sub(2)",
    ],
)
def test_instructions_on_huge_values_let_timers_run(slow: str) -> None:
    # A count of 1,000 such instructions, and 50 turns before the loop's next, were seconds.
    lua = f"local s = ('1'):rep(6 << 20) return function() while true do {slow} end end"
    assert attack(GAP.format(lua=lua, seconds=1.5)) == "Failure True"


def test_slow_turns_do_not_keep_timers_waiting() -> None:
    lua = """
    local s = ("x"):rep(6 << 20)
    return function() while true do s:upper() end end
    """
    # Of callbacks each has 50 turns before a timer has one, of 5 ms each here.
    counted = GAP.replace("max(gaps) < {seconds}", "len(gaps) > 20")
    assert attack(counted.format(lua=lua)) == "Failure True"


def test_the_look_after_a_large_value_is_not_far_in_a_coroutine_either() -> None:
    lua = """
    local s = ("1"):rep(6 << 20)
    return function() coroutine.wrap(function() while true do local _ = s < s .. "x" end end)() end
    """
    assert attack(GAP.format(lua=lua, seconds=1.5)) == "Failure True"


def test_a_chain_of_errors_in_any_order_is_collected_at_once() -> None:
    # In a table with weak keys 20,000 of them took 6 s of one garbage collection.
    lua = """
    return function()
      local found, details, order = {}, {}, {}
      for i = 1, 20000 do
        details[i], order[i] = {}, i
        found[i] = errors.new({ message = "m", details = details[i] })
      end
      for i = 20000, 2, -1 do
        local j = math.random(i)
        order[i], order[j] = order[j], order[i]
      end
      for i = 1, 19999 do details[order[i]].cause = found[order[i + 1]] end
      found, details = found[order[1]], nil
      while true do local _ = {} end
    end
    """
    assert attack(GAP.format(lua=lua, seconds=1.5)) == "Failure True"


@pytest.mark.parametrize(
    "lua",
    [
        "local t = {} setmetatable(t, { __call = t }) t()",
        "local a, b = {}, {} setmetatable(a, { __call = b }) setmetatable(b, { __call = a }) a()",
        "local t = print for _ = 1, 20 do t = setmetatable({}, { __call = t }) end t()",
    ],
)
def test_a_chain_of_callable_tables_without_an_end_is_refused(lua: str) -> None:
    assert "__call is not allowed" in attack_lua(f"return function() {lua} end")


def test_a_callable_table_may_stand_for_another() -> None:
    assert (
        run("""
    return function()
      local f = setmetatable({}, { __call = function(_, _, x) return x end })
      assert(setmetatable({}, { __call = f })(7) == 7)
    end
    """)
        == Success()
    )


@pytest.mark.parametrize(
    "lua",
    [
        "local function f() coroutine.wrap(f)() end return f",
        "local function f() ('x'):gsub('x', f) end return f",
        "local function f() table.sort({1, 2, 3}, f) end return f",
        "local function f() tostring(setmetatable({}, {__tostring = f})) end return f",
        "local function f() local c <close> = setmetatable({}, {__close = f}) end return f",
        "local function f() for _ in pairs(setmetatable({}, {__pairs = f})) do end end return f",
        "local function f() return setmetatable({}, {__index = f}).x end return f",
    ],
)
def test_recursion_through_c_functions_is_a_stack_overflow(lua: str) -> None:
    assert "stack overflow" in attack_lua(lua)
