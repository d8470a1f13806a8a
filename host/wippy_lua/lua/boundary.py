"""The host's side of a VM: the hook's question, and host functions that Lua can call.

What crosses is nil, booleans, numbers and bytes, nothing else. The rules behind this file were each
paid for with a crash of the process:

* No exception leaves a host function: one that came out of a coroutine crashes later. A host
  function answers with a status, and Lua raises.
* While the host pushes values the memory limit must not be met (Lua would have no protected call
  to jump to). `Boundary.lift` takes the limit off when a value might not fit, and the first thing
  that Lua does then is to put it back.
* Exceptions thrown into a greenlet that is inside Lua wait until the Lua code has unwound.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType
from typing import Any, TypeAlias

import msgspec

from wippy_lua.call import Call, End
from wippy_lua.errors import Kind, WippyError
from wippy_lua.log import Log
from wippy_lua.turns import Turns

#: Bytes that stay free below the limit while values are pushed without lifting it.
HEADROOM = 1024 * 1024
MAX_ERROR_BYTES = 8192  #: of a host error's message; what is longer is cut

#: Status of a host function's result; vm/host.lua has the same values.
ERROR, OK_LIFTED, ERROR_LIFTED, KILLED = 1, 2, 3, 4

#: A host function: the call it serves, then what Lua passed. It returns None, a scalar, bytes or
#: a tuple of these, and raises WippyError for what Lua gets as `nil, err`. It may block.
HostFunction: TypeAlias = Callable[..., Any]

#: What may cross besides bytes and integers; functions are made by `native` for a module.
_PLAIN = frozenset({type(None), bool, float, FunctionType})

IDLE = Call("")  #: stands for no call


class Boundary:
    """What host functions share with their VM. Apart from it, so that no VM is part of a cycle."""

    __slots__ = ("call", "headroom", "limit", "log", "lua")

    def __init__(self, lua: Any, limit: int, log: Log) -> None:
        self.lua = lua
        self.limit = limit
        self.headroom = limit - HEADROOM
        self.log = log
        self.call = IDLE

    def lift(self, size: int) -> bool:
        """Takes the memory limit off if `size` more bytes might meet it; tells whether it did."""
        if self.lua.get_memory_used() + size < self.headroom:
            return False
        self.lua.set_max_memory(0)
        return True

    def limit_memory(self) -> None:
        """Puts the memory limit on."""
        self.lua.set_max_memory(self.limit)

    def close(self) -> None:
        """Lets go of the Lua state, which holds the host functions, which hold this object.

        Without a limit: closing it runs finalizers, which must not run out of memory.
        """
        self.lua.set_max_memory(0)
        self.lua = None


def tick(boundary: Boundary) -> Callable[[], bool]:
    """Makes the hook's question: must the call end? It yields when the slice is over."""
    now, turns = time.monotonic, Turns()
    is_over, give_up = turns.is_over, turns.give_up

    def must_end() -> bool:
        call = boundary.call
        try:
            if call.end is None and now() >= call.deadline:
                call.end = End.TIMEOUT
            elif is_over():
                give_up()
        except BaseException as error:  # noqa: BLE001 - raised again once Lua has unwound
            call.caught(error)
        return call.end is not None

    return must_end


def native(boundary: Boundary, function: HostFunction) -> Callable[..., object]:
    """Wraps a host function: no exception leaves it, and its result fits the VM's memory."""

    def call_host(*args: object) -> object:
        call = boundary.call
        if call.ends_at_wait:
            call.interrupt()
        if call.end is not None:  # nobody would wake a `<close>` handler that waits after that
            return KILLED
        call.waiting = True
        try:
            result = function(call, *args)
        except WippyError as error:
            return _error(boundary, error)
        except Exception as error:  # noqa: BLE001 - a fault of the host must not end the process
            return _fault(boundary, function, error)
        except BaseException as error:  # noqa: BLE001 - raised again once Lua has unwound
            call.caught(error)
            return KILLED
        finally:
            call.waiting = False
        if call.end is not None:
            return KILLED
        if type(result) is bytes:  # what most host functions return
            if boundary.lua.get_memory_used() + len(result) < boundary.headroom:
                return True, result
            return OK_LIFTED if boundary.lift(len(result)) else True, result
        return _answer(boundary, function, result)

    return call_host


def _size(values: Iterable[object]) -> int:
    """Returns the bytes in a result; raises TypeError for what Lua must not get hold of."""
    size = 0
    for value in values:
        kind = type(value)
        if kind is bytes:
            size += len(value)  # type: ignore[arg-type]
        elif kind is int:
            if not -(2**63) <= value < 2**63:  # type: ignore[operator]
                raise TypeError("an integer of more than 64 bits cannot be passed to Lua")
        elif kind not in _PLAIN:
            raise TypeError(f"a {kind.__name__} cannot be passed to Lua")
    return size


def _answer(boundary: Boundary, function: HostFunction, result: object) -> object:
    if result is None:
        return True
    values = result if type(result) is tuple else (result,)
    try:
        lifted = boundary.lift(_size(values))
    except TypeError as error:
        return _fault(boundary, function, error)
    return (OK_LIFTED if lifted else True, *values)


def _fault(boundary: Boundary, function: HostFunction, error: Exception) -> tuple[object, ...]:
    """Answers for a host function that failed in a way that nobody foresaw."""
    boundary.log.error("host function failed", function=function.__qualname__, exc_info=error)
    return _error(boundary, WippyError(f"internal error: {error}", kind=Kind.INTERNAL))


def _error(boundary: Boundary, error: WippyError) -> tuple[object, ...]:
    message = error.message.encode("utf-8", "replace")[:MAX_ERROR_BYTES]
    details = None if error.details is None else _pack_details(error.details)
    lifted = boundary.lift(len(message) + len(details or b""))
    status = ERROR_LIFTED if lifted else ERROR
    return status, message, error.kind.value.encode(), error.retryable, details


def _pack_details(details: Mapping[str, object]) -> bytes:
    try:
        return msgspec.msgpack.encode(details, enc_hook=repr)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return msgspec.msgpack.encode({"text": repr(details)})
