"""Functions by ID: found, lent a VM, watched while they wait, interrupted at stop."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

import gevent
import msgspec
import pytest

from tests.lua.vms import JSON, MIB, failure_of, functions_of, natives, program
from wippy_lua.call import Call
from wippy_lua.errors import CallError, Kind
from wippy_lua.functions import Functions
from wippy_lua.lua.runtime import Natives
from wippy_lua.queue.settle import Cancelled, Success

WAITING = "local app = require('app') return function() app.wait(60) end"
NO_ARGUMENTS = b"\x90"


def waiting_natives() -> Natives:
    return natives({"app": {"wait": gevent.sleep}})


@contextmanager
def started(functions: Functions) -> Iterator[Functions]:
    functions.start()
    try:
        yield functions
    finally:
        functions.stop()


def test_a_call_that_waits_in_the_host_ends_at_its_deadline() -> None:
    with started(functions_of(program(WAITING), offers=waiting_natives())) as functions:
        begun = monotonic()
        outcome = functions.handle(Call("app:f", deadline=begun + 0.05), JSON, b"1")
    assert failure_of(outcome).error.kind is Kind.TIMEOUT
    assert monotonic() - begun < 5


def test_a_nested_call_that_waits_ends_at_its_own_deadline() -> None:
    functions = functions_of(program(WAITING), offers=waiting_natives())

    def call_inner() -> str:
        with pytest.raises(CallError) as caught:
            functions.call(Call("app:f", deadline=monotonic() + 0.05), NO_ARGUMENTS)
        return caught.value.kind.value

    outer = program(
        "local app = require('app') return function() return nil, app.inner() end", id_="app:outer"
    )
    functions_outer = functions_of(outer, offers=natives({"app": {"inner": call_inner}}))
    with started(functions), started(functions_outer):
        outcome = functions_outer.handle(Call("app:outer"), JSON, b"1")
    assert failure_of(outcome).error.message == "Timeout"


def test_an_unknown_function_is_not_found() -> None:
    functions = functions_of()
    error = failure_of(functions.handle(Call("app:none"), JSON, b"1")).error
    assert (error.kind, error.retryable, error.details) == (
        Kind.NOT_FOUND,
        False,
        {"function": "app:none"},
    )
    with pytest.raises(CallError, match="'app:none' not found"):
        functions.call(Call("app:none"), NO_ARGUMENTS)
    with pytest.raises(CallError):
        functions.warm("app:none")
    assert "app:none" not in functions


def test_warm_finds_a_source_that_does_not_load() -> None:
    functions = functions_of(program("return 5"))
    with pytest.raises(CallError, match="must return a function"):
        functions.warm("app:f")


def test_a_source_that_stopped_loading_fails_the_call_with_its_stack() -> None:
    functions = functions_of(program("error('broken')"))
    failure = failure_of(functions.handle(Call("app:f"), JSON, b"1"))
    assert failure.error.message == "app.lua:1: broken"
    assert "app.lua:1" in failure.stack


def test_a_warm_vm_serves_the_first_call() -> None:
    functions = functions_of(program("return function() end"))
    functions.warm("app:f")
    assert functions.vm_count() == 1
    assert functions.handle(Call("app:f"), JSON, b"1") == Success()
    assert functions.vm_count() == 1


def test_call_gives_the_packed_result() -> None:
    functions = functions_of(program("return function(a, b) return a + b end"))
    packed = functions.call(Call("app:f"), msgspec.msgpack.encode([1, 2]))
    assert packed is not None
    assert msgspec.msgpack.decode(packed) == 3


def test_all_vms_together_stay_below_their_limit() -> None:
    text = "local kept = ('x'):rep(3 << 20) return function() end"
    functions = functions_of(program(text), memory=8 * MIB)
    vms = [functions.load(functions.program("app:f")) for _ in range(3)]
    assert len(vms) == 3

    functions = functions_of(
        program(WAITING + " -- " + "x" * MIB), offers=waiting_natives(), memory=8 * MIB
    )
    calls = [gevent.spawn(functions.handle, Call("app:f"), JSON, b"1") for _ in range(200)]
    gevent.sleep(0)
    full = [call.value for call in calls if call.dead]
    assert full
    refused = full[-1]
    assert refused is not None
    error = failure_of(refused).error
    assert (error.kind, error.retryable) == (Kind.UNAVAILABLE, True)
    assert "vm_memory" in error.message
    functions.stop()
    gevent.joinall(calls, timeout=10)


def test_idle_vms_make_room_for_others() -> None:
    heavy = "local kept = ('x'):rep(3 << 20) return function() return #kept end"
    functions = functions_of(
        program(heavy), program(heavy, id_="app:g"), program(heavy, id_="app:h"), memory=6 * MIB
    )
    for name in ("app:f", "app:g", "app:h"):
        functions.warm(name)
    assert functions.vm_count() < 3
    assert functions.handle(Call("app:h"), JSON, b"1") == Success()


@pytest.mark.parametrize("text", [WAITING, "return function() while true do end end"])
def test_stop_interrupts_calls_in_progress(text: str) -> None:
    functions = functions_of(program(text), offers=waiting_natives())
    functions.start()
    running = gevent.spawn(functions.handle, Call("app:f"), JSON, b"1")
    gevent.sleep(0.02)
    functions.stop()
    assert running.get(timeout=5) == Cancelled()
    assert not list(functions.active())


def test_stop_interrupts_a_module_that_waits_while_it_loads() -> None:
    functions = functions_of(
        program("require('app').wait(60) return print"), offers=waiting_natives()
    )
    functions.start()
    running = gevent.spawn(functions.handle, Call("app:f"), JSON, b"1")
    gevent.sleep(0.02)
    functions.stop()
    assert failure_of(running.get(timeout=5)).error.kind is Kind.CANCELED


def test_stop_is_quiet_when_never_started() -> None:
    functions_of().stop()


def test_the_same_id_again_replaces_a_function_for_calls_to_come() -> None:
    functions = functions_of(program("return function() return nil, 'old' end"))
    assert failure_of(functions.handle(Call("app:f"), JSON, b"1")).error.message == "old"
    functions.add(program("return function() return nil, 'new' end"))
    assert failure_of(functions.handle(Call("app:f"), JSON, b"1")).error.message == "new"


def test_a_killed_caller_leaves_no_call_behind() -> None:
    functions = functions_of(program(WAITING), offers=waiting_natives())
    running = gevent.spawn(functions.handle, Call("app:f"), JSON, b"1")
    gevent.sleep(0.02)
    running.kill(timeout=5)
    assert running.dead
    assert not list(functions.active())
    assert functions.vm_count() == 0
