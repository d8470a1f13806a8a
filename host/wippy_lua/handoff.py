"""Runs a function on the hub's own thread, whichever native thread asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import gevent
from gevent.monkey import get_original

T = TypeVar("T")

# The real ones: after monkey-patching, `threading` speaks of greenlets.
_get_ident = get_original("_thread", "get_ident")
_allocate_lock = get_original("_thread", "allocate_lock")


class Handoff:
    """Belongs to the thread that calls `bind`, the first caller of `run` otherwise."""

    def __init__(self) -> None:
        self._thread: int | None = None
        self._loop: Any = None

    def bind(self) -> None:
        """Makes the calling thread's hub the one that functions run on."""
        self._thread = _get_ident()
        self._loop = gevent.get_hub().loop

    def run(self, function: Callable[[], T]) -> T:
        """Returns what `function` returns, or raises what it raises.

        On the hub's own thread it is called directly. From another one it runs in a greenlet of
        the hub, and the calling native thread blocks meanwhile.
        """
        if self._thread is None:
            self.bind()
        if _get_ident() == self._thread:
            return function()
        task = _Task(function)
        self._loop.run_callback_threadsafe(gevent.spawn, task.run)
        return task.wait()


class _Task(Generic[T]):
    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._done = _allocate_lock()
        self._done.acquire()
        self._result: T | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:  # noqa: BLE001 - it belongs to the thread that waits
            self._error = error
        finally:
            self._done.release()

    def wait(self) -> T:
        self._done.acquire()
        if self._error is not None:
            raise self._error
        return cast(T, self._result)
