"""What a call of a VM comes to: outcomes, errors, ends, results."""

from __future__ import annotations

import gevent
import msgspec
import pytest

from tests.lua.vms import (
    JSON,
    MSGPACK,
    Prints,
    failure_of,
    handle,
    make_vm,
    natives,
    result_of,
    run,
)
from wippy_lua.call import Call, End
from wippy_lua.errors import CallError, Kind, WippyError
from wippy_lua.queue.settle import Cancelled, Success
from wippy_lua.registry.entry import Source


@pytest.mark.parametrize(
    "returned",
    [
        "",
        "nil",
        "true",
        "1",
        "{}",
        "'text'",
        "print",
        "('a'):gsub('a', 'b')",
        "pcall(type, 1)",
        "nil, nil",
        "nil, false",
    ],
)
def test_a_handler_that_returns_without_an_error_succeeds(returned: str) -> None:
    assert run(f"return function() return {returned} end") == Success()


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("false", "the handler returned false"),
        ("false, nil", "the handler returned false"),
        ("nil, 'why'", "why"),
        ("false, 'why'", "why"),
        ("nil, 42", "42"),
        ("pcall(error, 'why', 0)", "why"),
        ("1, errors.new('why')", "why"),
        ("nil, errors.wrap(errors.new('why'), 'while')", "while: why"),
    ],
)
def test_a_handler_that_returns_an_error_fails(returned: str, message: str) -> None:
    assert failure_of(run(f"return function() return {returned} end")).error.message == message


def test_a_raised_string_fails_with_its_place() -> None:
    failure = failure_of(run("return function()\n  error('broken')\nend"))
    assert failure.error.message == "app.lua:2: broken"
    assert "app.lua:2" in failure.stack
    assert "boot.lua" not in failure.stack
    assert "tail calls" not in failure.stack


@pytest.mark.parametrize("way", ["error", "return nil,"])
def test_an_error_object_reaches_the_host_with_all_it_knows(way: str) -> None:
    failure = failure_of(
        run(f"""
        local function broken()
          local err = errors.new({{
            message = "no user", kind = errors.NOT_FOUND, retryable = false,
            details = {{ id = 7, tags = {{ "a", "b" }} }},
          }})
          return err
        end
        return function()
          local err = broken()
          {way} (err)
        end
        """)
    )
    error = failure.error
    assert (error.message, error.kind, error.retryable) == ("no user", Kind.NOT_FOUND, False)
    assert error.details == {"id": 7, "tags": ["a", "b"]}
    assert "app.lua:3" in failure.stack


def test_a_list_as_details_stays_reachable() -> None:
    failure = failure_of(
        run("return function() return nil, errors.new({message='x', details={1, 2}}) end")
    )
    assert failure.error.details == {"items": [1, 2]}


def test_methods_that_a_script_puts_on_an_error_change_nothing() -> None:
    failure = failure_of(
        run("""
        return function()
          local err = errors.new({ message = "real", kind = errors.CONFLICT })
          err.message = function() return {} end
          err.kind = function() return coroutine.create(print) end
          err.details = function() return print end
          return nil, err
        end
        """)
    )
    assert (failure.error.message, failure.error.kind) == ("real", Kind.CONFLICT)


def test_long_errors_are_cut() -> None:
    failure = failure_of(run("return function() error(('x'):rep(1 << 22), 0) end"))
    assert failure.error.message == "x" * 8192


def test_large_details_stay_behind() -> None:
    failure = failure_of(
        run(
            "local large = ('x'):rep(1 << 20)"
            "return function() return nil, errors.new({message='x', details={s=large}}) end"
        )
    )
    assert failure.error.details is None


def test_a_body_that_does_not_decode_is_an_invalid_failure_that_no_retry_helps() -> None:
    vm = make_vm("return function() end")
    error = failure_of(vm.handle(Call("app:f"), JSON, b'{"a":')).error
    assert (error.kind, error.retryable) == (Kind.INVALID, False)
    assert error.message.startswith("the body does not decode: ")
    assert failure_of(vm.handle(Call("app:f"), MSGPACK, b"\xc1")).error.kind is Kind.INVALID
    assert vm.healthy


def test_bodies_arrive_with_their_types() -> None:
    vm = make_vm("""
    return function(body)
      assert(math.type(body.i) == "integer" and math.type(body.f) == "float")
      assert(body.s == "text" and body.t == true and body.n == nil and body.l[2] == "b")
    end
    """)
    body = {"i": 1, "f": 1.5, "s": "text", "t": True, "n": None, "l": ["a", "b"]}
    assert handle(vm, body) == Success()
    assert vm.handle(Call("app:f"), MSGPACK, msgspec.msgpack.encode(body)) == Success()


def test_a_text_body_is_a_string_with_every_byte() -> None:
    assert run("return function(b) assert(b == '\\xff\\0a') end", b"\xff\0a") == Success()


def test_the_body_of_a_handler_decodes_to_itself() -> None:
    assert (
        run(
            """
        local json = require("json")
        local kept
        return function(body)
          assert(rawequal(json.decode(body), body))
          local _, err = json.decode({})
          assert(errors.is(err, errors.INVALID))
        end
        """,
            {"a": 1},
        )
        == Success()
    )


def test_call_returns_the_first_result_packed() -> None:
    assert result_of("return function(a, b, c) return {a, b == nil, c}, 2 end", 1, None, "x") == [
        1,
        True,
        "x",
    ]
    assert result_of("return function() end") is None


def test_call_counts_trailing_nils() -> None:
    assert result_of("return function(...) return select('#', ...) end", None, None) == 2


@pytest.mark.parametrize("returned", ["print", "{print}", "coroutine.create(print)"])
def test_a_result_that_cannot_be_passed_on_is_invalid(returned: str) -> None:
    with pytest.raises(CallError, match="cannot be passed on") as caught:
        result_of(f"return function() return {returned} end")
    assert caught.value.kind is Kind.INVALID


def test_call_raises_what_the_handler_raised() -> None:
    with pytest.raises(CallError) as caught:
        result_of(
            "local err = errors.new({message='no', kind='Conflict', details={n=1}})"
            "return function() return nil, err end"
        )
    assert (caught.value.message, caught.value.kind, caught.value.details) == (
        "no",
        Kind.CONFLICT,
        {"n": 1},
    )


def test_arguments_that_do_not_decode_fail_the_call() -> None:
    vm = make_vm("return function() end")
    with pytest.raises(CallError, match="MessagePack"):
        vm.call(Call("app:f"), b"\x93")
    assert vm.healthy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("return 5", "the source must return a function"),
        ("return {}", "the module has no function 'main'"),
        ("return function(", "app.lua:1:"),
        ("error('at load')", "app.lua:1: at load"),
    ],
)
def test_a_source_that_gives_no_handler_does_not_load(text: str, message: str) -> None:
    with pytest.raises(CallError, match=message.replace("(", r"\(")):
        make_vm(text)


def test_a_handler_that_computes_past_its_deadline_times_out() -> None:
    vm = make_vm("return function() while true do end end")
    assert failure_of(handle(vm, seconds=0.05)).error.kind is Kind.TIMEOUT
    assert not vm.healthy


def test_an_interrupted_handler_is_cancelled() -> None:
    vm = make_vm("return function() while true do end end")
    call = Call("app:f")
    running = gevent.spawn(vm.handle, call, JSON, b"1")
    gevent.sleep(0.01)
    call.interrupt()
    assert running.get(timeout=5) == Cancelled()
    assert not vm.healthy


def test_others_run_while_a_handler_computes() -> None:
    vm = make_vm("return function() while true do end end")
    call = Call("app:f")
    running = gevent.spawn(vm.handle, call, JSON, b"1")
    for _ in range(5):
        gevent.sleep(0.001)
    assert not running.dead
    call.interrupt()
    running.join(timeout=5)
    assert running.dead


def test_a_killed_greenlet_dies_once_its_lua_has_unwound() -> None:
    vm = make_vm("""
    return function()
      pcall(function() while true do end end)
      while true do end
    end
    """)
    running = gevent.spawn(vm.handle, Call("app:f"), JSON, b"1")
    gevent.sleep(0.01)
    running.kill(timeout=5)
    assert running.dead
    assert isinstance(running.value, gevent.GreenletExit)
    assert not vm.healthy


def test_a_timeout_of_gevent_comes_out_of_the_call() -> None:
    vm = make_vm("return function() while true do end end")
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        handle(vm)
    assert not vm.healthy


def test_a_host_function_that_fails_gives_nil_and_an_error() -> None:
    def fail(reason: str) -> None:
        if reason == "known":
            raise WippyError(
                "no", kind=Kind.CONFLICT, retryable=True, details={"at": object, "n": 1 << 70}
            )
        raise ValueError(reason)

    offers = natives({"app": {"fail": fail}})
    vm = make_vm(
        """
        local app = require("app")
        return function()
          local nothing, err = app.fail("known")
          assert(nothing == nil and err:kind() == "Conflict" and err:retryable() == true)
          assert(err:details().text:find("class 'object'"))
          nothing, err = app.fail("bad")
          assert(nothing == nil and err:kind() == "Internal")
          assert(err:message() == "app.fail: ValueError: bad")
        end
        """,
        offers,
    )
    assert handle(vm) == Success()


def test_a_handler_that_waits_in_a_host_function_is_ended_by_interrupt() -> None:
    offers = natives({"app": {"wait": gevent.sleep}})
    vm = make_vm("local app = require('app') return function() pcall(app.wait, 60) end", offers)
    call = Call("app:f")
    running = gevent.spawn(vm.handle, call, JSON, b"1")
    gevent.sleep(0.01)
    call.interrupt(End.TIMEOUT)
    assert failure_of(running.get(timeout=5)).error.kind is Kind.TIMEOUT


def test_an_ended_call_enters_no_host_function() -> None:
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        gevent.sleep(seconds)

    vm = make_vm(
        """
        local app = require("app")
        return function()
          local c <close> = setmetatable({}, { __close = function() app.wait(50) end })
          app.wait(60)
        end
        """,
        natives({"app": {"wait": wait}}),
    )
    call = Call("app:f")
    running = gevent.spawn(vm.handle, call, JSON, b"1")
    gevent.sleep(0.01)
    call.interrupt()
    assert running.get(timeout=5) == Cancelled()
    assert waits == [60]


def test_an_outer_call_is_ended_while_an_inner_one_computes() -> None:
    inner = make_vm("return function() while true do end end")
    offers = natives({"app": {"call": lambda: handle(inner)}})
    outer = make_vm("local app = require('app') return function() app.call() end", offers)
    call = Call("app:outer")
    running = gevent.spawn(outer.handle, call, JSON, b"1")
    gevent.sleep(0.02)
    call.interrupt()
    assert running.get(timeout=5) == Cancelled()
    assert not inner.healthy


def test_a_call_inside_a_call_of_another_vm_works() -> None:
    inner = make_vm("return function(b) return nil, 'inner ' .. b.n end")
    offers = natives({"app": {"call": lambda n: failure_of(handle(inner, {"n": n})).error.message}})
    outer = make_vm(
        "local app = require('app') return function() return nil, app.call(3) end", offers
    )
    assert failure_of(handle(outer)).error.message == "inner 3"


def test_print_writes_one_line_with_tabs() -> None:
    prints = Prints()
    assert (
        handle(make_vm("return function() print('a', 1, nil) end", natives(prints=prints)))
        == Success()
    )
    assert prints.lines == ["a\t1\tnil"]


def test_a_long_print_is_cut() -> None:
    prints = Prints()
    handle(make_vm("return function() print(('x'):rep(1 << 20)) end", natives(prints=prints)))
    assert [len(line) for line in prints.lines] == [65536]


def test_a_module_that_is_not_found_is_an_error_at_the_place_of_its_require() -> None:
    failure = failure_of(run("return function()\n  local x = require('jsn')\nend"))
    assert failure.error.message == "app.lua:2: module 'jsn' not found; did you mean 'json'?"


def test_errors_have_a_text_a_kind_and_a_stack() -> None:
    assert (
        run("""
    return function()
      local err = errors.wrap(errors.wrap(errors.new("low"), "mid"), "top")
      assert(tostring(err) == "top: mid: low" and err:message() == "low")
      assert(err .. "!" == "top: mid: low!" and "!" .. err == "!top: mid: low")
      assert(errors.is(err, errors.UNKNOWN) and not errors.is(nil, errors.UNKNOWN))
      assert(errors.call_stack(err)[1].source == "app.lua" and errors.call_stack(err)[1].line == 3)
      assert(errors.call_stack("x") == nil and err:details() == nil and err:retryable() == nil)
      assert(not pcall(errors.new, { message = 1 }))
      assert(select(2, pcall(err.kind)):find("called with a colon", 1, true))
      assert(not pcall(errors.new, { message = "m", kind = "Bad" }))
      assert(not pcall(errors.new, { message = "m", details = 1 }))
      assert(not pcall(errors.new, { message = "m", retryable = 1 }))
    end
    """)
        == Success()
    )


def test_a_call_that_was_ended_before_it_began_does_not_run() -> None:
    vm = make_vm("return function() error('ran') end")
    call = Call("app:f")
    call.interrupt()
    assert vm.handle(call, JSON, b"1") == Cancelled()
    assert vm.healthy


def imported(text: str) -> dict[str, Source]:
    return {"lib": Source("lib.lua", text.encode())}


def test_a_module_is_loaded_once() -> None:
    lib = "loads = (loads or 0) + 1 return {}"
    main = "return function() assert(require('lib') == require('lib') and loads == 1) end"
    assert run(main, imports=imported(lib)) == Success()


def test_a_module_that_requires_itself_is_an_error() -> None:
    failure = failure_of(
        run("return function() require('lib') end", imports=imported("require('lib')"))
    )
    assert failure.error.message == "lib.lua:1: loop of modules: 'lib' requires itself"


def test_a_module_that_failed_to_load_is_tried_again() -> None:
    lib = "tries = (tries or 0) + 1 if tries == 1 then error('first') end return tries"
    main = "return function() assert(not pcall(require, 'lib')) assert(require('lib') == 2) end"
    assert run(main, imports=imported(lib)) == Success()


def test_a_module_that_never_returns_is_ended_and_its_vm_replaced() -> None:
    vm = make_vm(
        "return function() pcall(require, 'lib') end", imports=imported("while true do end")
    )
    assert failure_of(handle(vm, seconds=0.05)).error.kind is Kind.TIMEOUT
    assert not vm.healthy
