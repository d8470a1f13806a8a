"""Host side of the Lua modules `funcs` and `ctx`: calls that a call makes, and what they carry.

Each runs in a greenlet of its own, so that one greenlet is in one VM and an interrupt meets the
call it is meant for. The caller owns them: what runs still when it ends is interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import count
from math import inf
from time import monotonic
from weakref import WeakKeyDictionary

import gevent
import msgspec
from gevent.event import Event

from wippy_lua.call import NO_CONTEXT, Call
from wippy_lua.errors import CallError, Kind, WippyError
from wippy_lua.functions import Functions
from wippy_lua.log import Log
from wippy_lua.lua.runtime import HostFunction
from wippy_lua.security.context import check

MAX_DEPTH = 16  #: calls within calls
MAX_FUTURES = 1000  #: of one call: those that run, and those whose result it has not taken

_decode_context = msgspec.msgpack.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.msgpack.Encoder().encode


class _Future:
    """One call on its way. `wait` blocks the greenlet of the caller."""

    __slots__ = ("_done", "_error", "_log", "_result", "call")

    def __init__(self, call: Call, log: Log) -> None:
        self.call = call
        self._log = log
        self._done = Event()
        self._result: bytes | None = None
        # What stays when the greenlet is killed.
        self._error: WippyError | None = CallError("the call was ended", kind=Kind.CANCELED)

    @property
    def done(self) -> bool:
        """True once there is a result or an error."""
        return self._done.is_set()

    def run(self, functions: Functions, arguments: bytes) -> None:
        """Makes the call, in the greenlet that is its own."""
        try:
            self._result = functions.call(self.call, arguments)
            self._error = None
        except WippyError as error:
            self._error = error.with_traceback(None)  # which would keep the VM it came from
        except Exception as error:  # noqa: BLE001 - it belongs to the caller, who waits for it
            self._log.error("call failed", function=self.call.function, exc_info=error)
            self._error = CallError(f"internal error: {error}", kind=Kind.INTERNAL)
        finally:
            self._done.set()

    def wait(self) -> bytes | None:
        """Returns the packed result, or raises the error that the call ended with; once."""
        self._done.wait()
        if self._error is None:
            return self._result
        error, self._error = self._error, None
        try:
            raise error
        finally:
            del error  # its traceback holds this frame: a cycle that would keep the VM


class _Futures:
    """The futures of one call, by the number that Lua knows them by."""

    def __init__(self) -> None:
        self.numbers = count(1)
        self.by_number: dict[int, _Future] = {}


class FuncsModule:
    """The functions that stdlib/funcs.lua and stdlib/ctx.lua call."""

    def __init__(self, functions: Functions, log: Log) -> None:
        self._functions = functions
        self._log = log
        self._futures: WeakKeyDictionary[Call, _Futures] = WeakKeyDictionary()

    def functions(self) -> Mapping[str, HostFunction]:
        """Returns the host functions of `funcs` by the names that the Lua side uses."""
        return {
            "call": self.call,
            "start": self.start,
            "take": self.take,
            "is_done": self.is_done,
            "cancel": self.cancel,
        }

    def context_functions(self) -> Mapping[str, HostFunction]:
        """Returns the host functions of `ctx`."""
        return {"get": self.context_value, "all": self.context_values}

    def call(
        self, call: Call, function: bytes, arguments: bytes, context: bytes | None = None
    ) -> bytes | None:
        """Calls a function and returns its packed result; blocks until it has ended."""
        return self._start(call, function, arguments, context).wait()

    def start(
        self, call: Call, function: bytes, arguments: bytes, context: bytes | None = None
    ) -> int:
        """Begins a call; returns the number of its future."""
        futures = self._futures.setdefault(call, _Futures())
        if len(futures.by_number) >= MAX_FUTURES:
            raise WippyError(
                f"{MAX_FUTURES} calls of {call.function} run or wait for response()",
                kind=Kind.RATE_LIMITED,
                retryable=True,
            )
        future = self._start(call, function, arguments, context)
        number = next(futures.numbers)
        futures.by_number[number] = future
        return number

    def take(self, call: Call, number: int) -> bytes | None:
        """Returns a future's packed result once it is there, and forgets the future."""
        future = self._future(call, number)
        try:
            return future.wait()
        finally:
            if future.done:  # an interrupt of the caller ends the wait earlier
                del self._futures[call].by_number[number]

    def is_done(self, call: Call, number: int) -> bool:
        """Tells whether a future has its result."""
        return self._future(call, number).done

    def cancel(self, call: Call, number: int) -> bool:
        """Ends a future's call and forgets it; false when it has its result."""
        future = self._future(call, number)
        if future.done:
            return False
        future.call.interrupt()
        del self._futures[call].by_number[number]
        return True

    def context_value(self, call: Call, key: bytes) -> bytes | None:
        """Returns one value of the call's context, packed; nil when it has none."""
        return call.context.get(key.decode("utf-8", "replace"))

    def context_values(self, call: Call) -> bytes:
        """Returns the call's whole context, packed."""
        return _encode({key: msgspec.Raw(value) for key, value in call.context.items()})

    def _future(self, call: Call, number: int) -> _Future:
        return self._futures[call].by_number[number]

    def _start(
        self, call: Call, function: bytes, arguments: bytes, context: bytes | None
    ) -> _Future:
        if call.loading:
            raise _invalid("funcs does nothing while a module loads: call it inside a function")
        if call.depth >= MAX_DEPTH:
            raise _invalid(f"calls nest {MAX_DEPTH} deep: {call.function} calls {_text(function)}")
        timeout = self._functions.program(_text(function)).timeout
        if call.security is not None:
            check(call, "funcs.call", _text(function))
        values = NO_CONTEXT if context is None else _context(context)
        deadline = inf if timeout is None else monotonic() + timeout
        child = call.child(_text(function), deadline, values)
        future = _Future(child, self._log)
        greenlet = gevent.spawn(future.run, self._functions, arguments)
        greenlet.link(partial(_forget, call, child))
        return future


def _forget(call: Call, child: Call, _greenlet: object) -> None:
    call.leave(child)


def _context(packed: bytes) -> Mapping[str, bytes]:
    try:
        return {key: bytes(value) for key, value in _decode_context(packed).items()}
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise _invalid(f"context must be a table with string keys: {error}") from error


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _invalid(message: str) -> WippyError:
    return WippyError(message, kind=Kind.INVALID, retryable=False)
