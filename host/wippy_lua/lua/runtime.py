"""One Lua VM: its guards, its boundary, and the calls that run in it.

No Lua object is kept by Python but the entry functions, and no Python object but host functions,
wrapped in closures, is reachable from Lua: see boundary.py. One greenlet at a time is inside a VM,
two crash it: `VM._enter` refuses, the pool prevents.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias

import msgspec
from gevent import getcurrent
from lupa import lua54

from wippy_lua.call import Call, End
from wippy_lua.errors import CallError, Kind, WippyError
from wippy_lua.log import Log
from wippy_lua.lua import bytecode
from wippy_lua.lua.boundary import IDLE, Boundary, native, tick
from wippy_lua.lua.boundary import HostFunction as HostFunction  # for who need not know the rest
from wippy_lua.lua.program import Program
from wippy_lua.queue.settle import SUCCESS, Cancelled, Failure, Outcome, Success

#: VM instructions between two looks at the clock. The worst stall by single instructions on huge
#: strings is about this count times the memory limit.
HOOK_COUNT = 1000

#: Finds a module for `require`, by its name.
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


def _deny(_object: object, _name: object, _value: object = None) -> None:
    raise AttributeError("not accessible from Lua")


#: Runs one of the VM's own chunks by name. They get `debug` though boot.lua takes it from `_G`;
#: what no chunk uses goes, since every VM would hold it.
PART = b"""
local fetch, limit_memory = ...
local load, own = load, {}
local loaded = debug.getregistry()._LOADED
for _, name in ipairs({"io", "package", "python", "require"}) do
  loaded[name], _G[name] = nil, nil
end
for name, value in next, _G do own[name] = value end
return function(name, ...)
  local lifted, bytecode = fetch(name)
  if lifted then limit_memory() end
  return load(bytecode, name, "b", own)(...)
end
"""


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
        self._boundary = Boundary(self._lua, program.memory, log)
        self._assemble(natives)

    def __del__(self) -> None:
        self._boundary.close()

    @property
    def memory(self) -> int:
        """Bytes in use."""
        used: int = self._lua.get_memory_used()
        return used

    def load(self, call: Call) -> None:
        """Runs the program's source and finds its handler; raises CallError when that fails."""
        program = self.program
        chunk_name = f"@{program.source.name}".encode()
        outcome = self._run(
            call, self._load, program.source.text, chunk_name, program.method.encode()
        )
        if not isinstance(outcome, Success):
            self.healthy = False
            raise _call_error(outcome, program.id)

    def handle(self, call: Call, kind: int, body: bytes) -> Outcome:
        """Calls the handler with a body; `kind`: 0 text, 1 JSON, 2 MessagePack."""
        boundary = self._boundary
        lifted = boundary.lua.get_memory_used() + len(body) >= boundary.headroom
        if lifted:
            boundary.lift(len(body))
        return self._run(call, self._handle, lifted, kind, body)

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
        """Calls the handler with packed arguments; returns a packed result or raises CallError."""
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
        if call.end is not None:  # while the VM was loaded for it
            return self._ended(call)
        if self._busy:
            raise AssertionError(f"a VM of {self.program.id} was entered twice")
        self._busy = True
        self.calls += 1
        self._boundary.call = call
        call.greenlet = getcurrent()
        try:
            result = entry(*args)
        except lua54.LuaMemoryError:
            result = b"memory"
        except lua54.LuaError as error:
            self.healthy = False
            # The hook may look once more after the handler has ended.
            if call.end is None:
                return Failure(WippyError(f"the VM failed: {error}", kind=Kind.INTERNAL))
            result = b"killed"
        finally:
            # An idle VM keeps no message, and an exception's traceback no greenlet, which keeps it.
            self._boundary.call = IDLE
            call.greenlet = None
            if call.dependents is not None:
                call.end_dependents()
            self._busy = False
        if call.foreign is not None:
            self.healthy = False
            _raise_foreign(call)
        if result is True:
            return SUCCESS
        return self._outcome(call, result, keep)

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
        return self._ended(call)

    def _ended(self, call: Call) -> Outcome:
        if call.end is End.TIMEOUT:
            return Failure(WippyError(f"{self.program.id} timed out", kind=Kind.TIMEOUT))
        return Cancelled()

    def _assemble(self, natives: Natives) -> None:
        """Builds the VM from its chunks; boot.lua says what each of them is for."""
        boundary = self._boundary
        count = HOOK_COUNT if self.program.preempt else False
        part = self._parts()
        later = part(b"later")
        preempt = part(b"preempt", tick(boundary), count)
        bounded = part(b"bounded", part, later, preempt[b"look"])
        sandbox = part(b"sandbox", part, bounded, preempt)
        codec = part(b"codec", part, later, preempt[b"spend"])
        host = self._native_table(natives)
        entries = part(b"boot", part, later, preempt, sandbox, codec, host)
        self._load, self._main = entries[b"load"], entries[b"run"]
        self._handle, self._call = entries[b"handle"], entries[b"call"]

    def _parts(self) -> Any:
        """Returns PART's function."""
        boundary = self._boundary

        def fetch(name: bytes) -> tuple[bool, bytes]:
            code = bytecode.part(name.decode())
            return boundary.lift(len(code)), code

        return self._lua.execute(PART, fetch, boundary.limit_memory, mode=b"t")

    def _native_table(self, natives: Natives) -> Any:
        boundary, program = self._boundary, self.program
        libraries: dict[bytes, Mapping[str, HostFunction]] = {}

        def resolve(_call: Call, name: bytes) -> tuple[object, ...]:
            module = natives.resolve(program, _text(name))
            if module.kind == "library":
                libraries[name] = module.functions
                return b"library", module.source
            if module.kind == "script":
                return b"script", module.source, module.chunk_name.encode()
            return (b"host", *(key.encode() for key in module.functions))

        def function(_call: Call, library: bytes, name: bytes) -> object:
            return native(boundary, libraries[library][_text(name)])

        def part(_call: Call, name: bytes) -> bytes | None:
            return bytecode.library(_text(name))

        table = self._lua.execute(b"return {}", mode=b"t")
        table[b"limit_memory"] = boundary.limit_memory
        table[b"resolve"] = native(boundary, resolve)
        table[b"host_function"] = native(boundary, function)
        table[b"invoke"] = native(boundary, natives.invoke)
        table[b"print"] = native(boundary, natives.print)
        table[b"library_part"] = native(boundary, part)
        return table


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "replace")


def _raise_foreign(call: Call) -> NoReturn:
    foreign, call.foreign = call.foreign, None
    if foreign is None:
        raise AssertionError("no exception came from outside")
    try:
        raise foreign
    finally:
        del foreign  # its traceback holds this frame: a cycle that would keep the VM


def _failure(
    message: bytes,
    kind: bytes = b"",
    retryable: bool | None = None,
    stack: bytes = b"",
    details: bytes | None = None,
) -> Failure:
    facts = None if details is None else _details(details)
    error = WippyError(_text(message), kind=_kind(kind), retryable=retryable, details=facts)
    return Failure(error, _own_frames(_text(stack)))


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
    ours = (bytecode.FRAME, "[C]: in function 'xpcall'")
    lines = [line for line in stack.strip().splitlines() if not line.lstrip().startswith(ours)]
    while lines and lines[-1].strip() == "(...tail calls...)":  # by which ours came to the script's
        lines.pop()
    return "\n".join(lines)


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
