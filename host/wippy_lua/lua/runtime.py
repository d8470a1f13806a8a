"""One Lua VM: its guards, its boundary, and the calls that run in it.

What crosses the boundary is nil, booleans, numbers and bytes, nothing else: no Lua object is kept
by Python, and no Python object but host functions, wrapped in closures, is reachable from Lua.
The rules behind this file were each paid for with a crash of the process:

* One greenlet at a time is inside a VM: two crash it. `VM._enter` refuses, the pool prevents.
* No exception leaves a host function: one that came out of a coroutine crashes later. A host
  function answers with a status, and Lua raises.
* While the host pushes values the memory limit must not be met (Lua would have no protected call
  to jump to). `_Boundary` takes the limit off when a value might not fit, and the first thing
  that Lua does then is to put it back.
* Exceptions thrown into a greenlet that is inside Lua wait until the Lua code has unwound.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import gevent
import msgspec
from lupa import lua54

from wippy_lua.call import Call, End
from wippy_lua.errors import CallError, Kind, WippyError
from wippy_lua.log import Log
from wippy_lua.lua.program import Program
from wippy_lua.lua.stdlib import library_source
from wippy_lua.queue.settle import SUCCESS, Cancelled, Failure, Outcome, Success

#: VM instructions between two looks at the clock. The worst stall by single instructions on huge
#: strings is about this count times the memory limit.
HOOK_COUNT = 1000
#: Seconds that a call may hold the hub before it lets others run.
SLICE = 0.002
#: Bytes that stay free below the limit while values are pushed without lifting it.
HEADROOM = 1024 * 1024
MAX_ERROR_BYTES = 8192  #: of an error's message or stack; what is longer is cut

#: Status of a host function's result; boot.lua has the same values.
ERROR, OK_LIFTED, ERROR_LIFTED, KILLED = 1, 2, 3, 4

#: A host function: the call it serves, then what Lua passed. It returns None, a scalar, bytes or
#: a tuple of these, and raises WippyError for what Lua gets as `nil, err`. It may block.
HostFunction: TypeAlias = Callable[..., Any]

#: Finds a module for `require`: ("library", source, functions), ("script", source, chunk name)
#: or ("host", function names).
Resolver: TypeAlias = Callable[[Program, str], "Module"]


class Module(msgspec.Struct, frozen=True):
    """What `require` found: a library, a script of the app, or a module of Python functions."""

    kind: str
    source: bytes = b""
    chunk_name: str = ""
    functions: Mapping[str, HostFunction] = msgspec.field(default_factory=dict)


class Natives(msgspec.Struct, frozen=True):
    """What the host offers to every VM."""

    resolve: Resolver
    invoke: HostFunction
    print: HostFunction


class _Boundary:
    """What host functions share with their VM. Apart from it, so that no VM is part of a cycle."""

    __slots__ = ("call", "headroom", "limit", "log", "lua")

    def __init__(self, lua: Any, limit: int, log: Log) -> None:
        self.lua = lua
        self.limit = limit
        self.headroom = limit - HEADROOM
        self.log = log
        self.call = Call("")

    def lift(self, size: int) -> bool:
        """Takes the memory limit off if `size` more bytes might meet it; tells whether it did."""
        if self.lua.get_memory_used() + size < self.headroom:
            return False
        self.lua.set_max_memory(0)
        return True

    def limit_memory(self) -> None:
        self.lua.set_max_memory(self.limit)


def _tick(boundary: _Boundary) -> Callable[[], bool]:
    """Makes the hook's question: must the call end? It yields when the slice is over."""
    now, wall, sleep = time.monotonic, time.time, gevent.sleep
    loop_time = gevent.get_hub().loop.now

    def tick() -> bool:
        call = boundary.call
        if call.end is not None:
            return True
        if now() >= call.deadline:
            call.end = End.TIMEOUT
            return True
        # The loop dates its last turn: the slice is shared by all that ran since.
        if abs(wall() - loop_time()) > SLICE:
            try:
                sleep(0)
            except BaseException as error:  # noqa: BLE001 - raised again once Lua has unwound
                call.caught(error)
            return call.end is not None
        return False

    return tick


def _size(values: Iterable[object]) -> int:
    return sum(len(value) for value in values if type(value) is bytes)


def _native(boundary: _Boundary, function: HostFunction) -> Callable[..., object]:
    """Wraps a host function: no exception leaves it, and its result fits the VM's memory."""

    def native(*args: object) -> object:
        call = boundary.call
        if call.ends_at_wait:
            call.interrupt()
            return KILLED
        call.waiting = True
        try:
            result = function(call, *args)
        except WippyError as error:
            return _error(boundary, error)
        except Exception as error:
            boundary.log.error(
                "host function failed", function=function.__qualname__, exc_info=error
            )
            return _error(boundary, WippyError(f"internal error: {error}", kind=Kind.INTERNAL))
        except BaseException as error:  # noqa: BLE001 - raised again once Lua has unwound
            call.caught(error)
            return KILLED
        finally:
            call.waiting = False
        if call.end is not None:
            return KILLED
        if result is None:
            return True
        values = result if type(result) is tuple else (result,)
        lifted = boundary.lift(_size(values))
        return (OK_LIFTED if lifted else True, *values)

    return native


def _error(boundary: _Boundary, error: WippyError) -> tuple[object, ...]:
    message = error.message.encode("utf-8", "replace")[:MAX_ERROR_BYTES]
    details = None if error.details is None else msgspec.msgpack.encode(error.details)
    lifted = boundary.lift(len(message) + len(details or b""))
    status = ERROR_LIFTED if lifted else ERROR
    return status, message, error.kind.value.encode(), error.retryable, details


def _deny(_object: object, _name: object, _value: object = None) -> None:
    raise AttributeError("not accessible from Lua")


@cache
def _chunks() -> Mapping[bytes, bytes]:
    """Compiles our own chunks by name, once for the process: loading them again is 5 times faster."""
    compiler = lua54.LuaRuntime(encoding=None)
    dump = compiler.eval(b"function(f) return string.dump(f) end")
    folder = Path(__file__).parent
    chunks = {}
    for file in sorted(folder.rglob("*.lua")):
        name = file.relative_to(folder).with_suffix("").as_posix()
        chunk = compiler.compile(file.read_bytes(), name=f"={name}.lua".encode(), mode=b"t")
        chunks[name.encode()] = dump(chunk)
    return chunks


class VM:
    """A Lua state that holds one loaded program and serves one call at a time."""

    def __init__(self, program: Program, natives: Natives, log: Log) -> None:
        self.program = program
        #: False once a call left it in a state that nobody vouches for.
        self.healthy = True
        self.calls = 0
        self.last_used = time.monotonic()
        self._busy = False
        self._lua = lua54.LuaRuntime(
            encoding=None,
            register_eval=False,
            register_builtins=False,
            unpack_returned_tuples=True,
            attribute_handlers=(_deny, _deny),
            max_memory=0,
        )
        self._boundary = _Boundary(self._lua, program.memory, log)
        self._assemble(natives)

    @property
    def memory(self) -> int:
        """Bytes in use."""
        used: int = self._lua.get_memory_used()
        return used

    def load(self) -> None:
        """Runs the program's source and finds its handler; raises CallError when that fails."""
        program = self.program
        call = Call(program.id, loading=True, deadline=time.monotonic() + LOAD_TIMEOUT)
        chunk_name = f"@{program.source.name}".encode()
        outcome = self._run(
            call, self._load, program.source.text, chunk_name, program.method.encode()
        )
        if not isinstance(outcome, Success):
            self.healthy = False
            raise _call_error(outcome, program.id)

    def handle(self, call: Call, kind: int, body: bytes) -> Outcome:
        """Calls the handler with a body; `kind` says how it is written (0 text, 1 JSON, 2 MessagePack)."""
        return self._run(call, self._handle, self._boundary.lift(len(body)), kind, body)

    def run(self, call: Call, arguments: Sequence[str]) -> object:
        """Runs the source as a program; returns what it returned, or raises CallError."""
        source = self.program.source
        result: list[bytes | None] = []
        words = [os.fsencode(argument) for argument in arguments]
        outcome = self._run(
            call, self._main, source.text, f"@{source.name}".encode(), *words, keep=result
        )
        if not isinstance(outcome, Success):
            raise _call_error(outcome, self.program.id)
        return None if result[0] is None else msgspec.msgpack.decode(result[0])

    def call(self, call: Call, arguments: bytes) -> bytes | None:
        """Calls the handler with packed arguments; returns its packed result or raises CallError."""
        result: list[bytes | None] = []
        outcome = self._run(
            call, self._call, self._boundary.lift(len(arguments)), arguments, keep=result
        )
        if isinstance(outcome, Success):
            return result[0]
        raise _call_error(outcome, self.program.id)

    def _run(
        self, call: Call, entry: Any, *args: object, keep: list[bytes | None] | None = None
    ) -> Outcome:
        self._enter(call)
        try:
            result = entry(*args)
        except lua54.LuaMemoryError:
            result = b"memory"
        except lua54.LuaError as error:
            self.healthy = False
            return Failure(WippyError(f"the VM failed: {error}", kind=Kind.INTERNAL))
        finally:
            self._busy = False
        if call.foreign is not None:
            self.healthy = False
            raise call.foreign
        if result is True:
            return SUCCESS
        return self._outcome(call, result, keep)

    def _enter(self, call: Call) -> None:
        if self._busy:
            raise AssertionError(f"a VM of {self.program.id} was entered twice")
        self._busy = True
        self.calls += 1
        self._boundary.call = call

    def _outcome(self, call: Call, result: Any, keep: list[bytes | None] | None) -> Outcome:
        # lupa unpacks one value alone.
        status, *facts = result if type(result) is tuple else (result,)
        if status is True:
            if keep is not None:
                keep.append(facts[0])
            return SUCCESS
        if status == b"error":
            return _failure(*facts)
        if status == b"undecodable":
            message = f"the body does not decode: {_text(facts[0])}"
            return Failure(WippyError(message, kind=Kind.INVALID, retryable=False))
        self.healthy = False
        if status == b"memory":
            size = self.program.memory / 1024 / 1024
            return Failure(
                WippyError(
                    f"{self.program.id} reached its memory limit of {size:g} MiB",
                    kind=Kind.INTERNAL,
                )
            )
        if call.end is End.TIMEOUT:
            return Failure(WippyError(f"{self.program.id} timed out", kind=Kind.TIMEOUT))
        return Cancelled()

    def _assemble(self, natives: Natives) -> None:
        """Builds the VM from its chunks; boot.lua says what each of them is for."""
        boundary = self._boundary
        count = HOOK_COUNT if self.program.preempt else False
        part = self._parts()
        preempt = part(b"preempt", _tick(boundary), count)
        bounded = part(b"bounded", part, preempt[b"check"])
        sandbox = part(b"sandbox", bounded, preempt)
        codec = part(b"codec", part, preempt[b"spend"])
        entries = part(b"boot", preempt, sandbox, codec, self._native_table(natives))
        self._load, self._main = entries[b"load"], entries[b"run"]
        self._handle, self._call = entries[b"handle"], entries[b"call"]

    def _parts(self) -> Any:
        """Returns a Lua function that runs one of the VM's own chunks by name."""
        chunks = self._lua.execute(b"return {}", mode=b"t")
        for name, bytecode in _chunks().items():
            chunks[name] = self._lua.compile(bytecode, mode=b"b")
        return self._lua.execute(
            b"local chunks = ... return function(name, ...) return chunks[name](...) end",
            chunks,
            mode=b"t",
        )

    def _native_table(self, natives: Natives) -> Any:
        boundary, program = self._boundary, self.program

        def resolve(_call: Call, name: bytes) -> tuple[object, ...]:
            module = natives.resolve(program, _text(name))
            if module.kind == "library":
                functions = [
                    item
                    for key, function in module.functions.items()
                    for item in (key.encode(), _native(boundary, function))
                ]
                return (b"library", module.source, *functions)
            if module.kind == "script":
                return b"script", module.source, module.chunk_name.encode()
            return (b"host", *(key.encode() for key in module.functions))

        table = self._lua.execute(b"return {}", mode=b"t")
        table[b"limit_memory"] = boundary.limit_memory
        table[b"resolve"] = _native(boundary, resolve)
        table[b"invoke"] = _native(boundary, natives.invoke)
        table[b"print"] = _native(boundary, natives.print)
        table[b"errors_source"] = library_source("errors")
        return table


#: Seconds that a module's top level may run.
LOAD_TIMEOUT = 10.0


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")


def _shortened(value: bytes) -> str:
    return _text(value[:MAX_ERROR_BYTES])


def _failure(
    message: bytes,
    kind: bytes = b"",
    retryable: bool | None = None,
    stack: bytes = b"",
    details: bytes | None = None,
) -> Failure:
    facts = None if details is None else _details(details)
    error = WippyError(_shortened(message), kind=_kind(kind), retryable=retryable, details=facts)
    return Failure(error, _own_frames(_shortened(stack)))


def _kind(value: bytes) -> Kind:
    try:
        return Kind(_text(value))
    except ValueError:
        return Kind.UNKNOWN


def _details(packed: bytes) -> dict[str, object] | None:
    value = msgspec.msgpack.decode(packed)
    return (
        {str(key): item for key, item in value.items()}
        if isinstance(value, dict)
        else {"items": value}
    )


def _own_frames(stack: str) -> str:
    """Leaves out the frames of the host's own chunks."""
    lines = stack.strip().splitlines()
    ours = ("boot.lua:", "preempt.lua:", "sandbox.lua:", "[C]: in function 'xpcall'")
    return "\n".join(line for line in lines if not line.lstrip().startswith(ours))


def _call_error(outcome: Outcome, program: str) -> CallError:
    if isinstance(outcome, Failure):
        error = outcome.error
        return CallError(
            error.message,
            kind=error.kind,
            retryable=error.retryable,
            details=error.details,
            stack=outcome.stack,
        )
    return CallError(f"{program} was cancelled", kind=Kind.CANCELED)
