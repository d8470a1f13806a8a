"""The VMs of a function: how many there are, which are kept, and that dropped ones are gone."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator

import gevent
import pytest

from tests.lua.vms import JSON, attack, functions_of, handle, make_vm, natives, program
from wippy_lua.call import Call
from wippy_lua.log import NullLog
from wippy_lua.lua.pool import Pool
from wippy_lua.lua.program import Program
from wippy_lua.lua.runtime import VM
from wippy_lua.queue.settle import Success

QUIET = "return function() return true end"


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def make(wanted: Program) -> VM:
    vm = VM(wanted, natives(), NullLog())
    vm.load(Call(wanted.id, loading=True))
    return vm


def pool_of(text: str = QUIET, recycle: int = 10_000) -> Pool:
    return Pool(program(text), make, recycle)


def test_a_pool_grows_to_the_calls_in_progress() -> None:
    pool = pool_of()
    vms = [pool.acquire() for _ in range(5)]
    assert len(pool) == 5
    assert len(set(map(id, vms))) == 5
    for vm in vms:
        pool.release(vm)
    assert len(pool) == 5
    assert pool.acquire() in vms
    assert len(pool) == 5


def test_the_last_vm_given_back_is_lent_first() -> None:
    pool = pool_of()
    first, second = pool.acquire(), pool.acquire()
    pool.release(first)
    pool.release(second)
    assert pool.acquire() is second


def test_idle_vms_are_dropped_and_lent_ones_are_not() -> None:
    pool = pool_of()
    lent, idle = pool.acquire(), pool.acquire()
    pool.release(idle)
    pool.trim()
    assert len(pool) == 2
    pool.trim(idle_seconds=0)
    assert len(pool) == 1
    pool.release(lent)
    assert len(pool) == 1


def test_a_vm_is_replaced_after_its_share_of_calls() -> None:
    pool = pool_of(recycle=3)
    vm = pool.acquire()
    while vm.calls < 3:
        handle(vm)
    pool.release(vm)
    assert len(pool) == 0


@pytest.mark.parametrize(
    "harm",
    [
        "while true do end",
        "local t = {} while true do t[#t + 1] = {} end",
        "kept = ('x'):rep(10 << 20)",
    ],
    ids=["timeout", "memory error", "much memory in use"],
)
def test_a_harmed_vm_is_replaced(harm: str) -> None:
    pool = pool_of(f"return function() {harm} end")
    vm = pool.acquire()
    handle(vm, seconds=0.3)
    pool.release(vm)
    assert len(pool) == 0


def test_a_vm_whose_handler_failed_is_kept() -> None:
    pool = pool_of("return function() error('x') end")
    vm = pool.acquire()
    handle(vm)
    pool.release(vm)
    assert pool.acquire() is vm


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize(
    "text",
    [
        QUIET,
        "require('json') local l = require('logger') return function() l.info('x') end",
        "return function() error(errors.new('x')) end",
        "return function() while true do end end",
        "return function() local t = {} while true do t[#t + 1] = {} end end",
        "local co = coroutine.wrap(coroutine.yield) return function() co() end",
        "local app = require('app') return function() app.fail() end",
    ],
)
def test_a_dropped_vm_is_freed_without_the_collector(text: str) -> None:
    offers = natives({"app": {"fail": lambda: 1 / 0}})
    vm = make_vm(text, offers)
    handle(vm, seconds=0.1)
    gone = weakref.ref(vm)
    lua_gone = weakref.ref(held_by_lua(vm))
    assert lua_gone() is not None
    del vm
    assert gone() is None
    assert lua_gone() is None


def held_by_lua(vm: VM) -> Callable[[], None]:
    """Returns an object that lives for as long as the Lua state of a VM does."""

    def held() -> None: ...

    vm._lua.globals()[b"held"] = held
    return held


@pytest.mark.usefixtures("no_collector")
def test_a_vm_whose_greenlet_was_killed_is_freed_without_the_collector() -> None:
    vm = make_vm("return function() while true do end end")
    running = gevent.spawn(vm.handle, Call("app:f"), JSON, b"1")
    gevent.sleep(0.01)
    running.kill()
    gone = weakref.ref(vm)
    del running, vm
    gevent.sleep(0)
    assert gone() is None


def test_memory_stays_flat_over_two_thousand_vms() -> None:
    printed = attack(
        """
    import gc
    def resident():
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * 4096
    gc.disable()
    def many(count):
        for _ in range(count):
            assert handle(make_vm("return function() return true end", offers)) == Success()
    offers = natives()
    many(200)
    before = resident()
    many(2000)
    grown = resident() - before
    assert grown < 8 * MIB, grown
    print("flat")
    """,
        seconds=60,
    )
    assert printed == "flat"


def test_a_function_has_as_many_vms_as_calls_in_progress() -> None:
    offers = natives({"app": {"wait": gevent.sleep}})
    functions = functions_of(
        program("local app = require('app') return function() app.wait(0.02) end"), offers=offers
    )
    calls = [gevent.spawn(functions.handle, Call("app:f"), JSON, b"1") for _ in range(7)]
    gevent.joinall(calls, timeout=10)
    assert [call.value for call in calls] == [Success()] * 7
    assert functions.vm_count() == 7
