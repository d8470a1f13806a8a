"""Runs a function on the hub's own thread, whichever native thread asks for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

import gevent
from gevent.monkey import get_original

from wippy_lua.errors import Kind, WippyError

T = TypeVar("T")

# The real ones: after monkey-patching, `threading` speaks of greenlets.
_get_ident = get_original("_thread", "get_ident")
_allocate_lock = get_original("_thread", "allocate_lock")


class Handoff:
    """Belongs to the thread that calls `bind`, the first caller of `run` otherwise."""

    def __init__(self) -> None:
        self._thread: int | None = None
        self._process = 0
        self._loop: Any = None

    def bind(self) -> None:
        """Makes the calling thread's hub the one that functions run on."""
        self._thread = _get_ident()
        self._process = os.getpid()
        self._loop = gevent.get_hub().loop

    @property
    def is_fork(self) -> bool:
        """Whether this process was forked off the one that bound."""
        return self._thread is not None and os.getpid() != self._process

    def check_process(self) -> None:
        """Raises WippyError of kind INVALID in a fork of the process that bound."""
        if self.is_fork:
            raise self._in_a_fork()

    def run(self, function: Callable[[], T]) -> T:
        """Returns what `function` returns, or raises what it raises.

        On the hub's own thread it is called directly. From another one it runs in a greenlet of
        the hub, and the calling native thread blocks meanwhile. Raises WippyError in a fork.
        """
        if self._thread is None:
            self.bind()
        if os.getpid() != self._process:
            raise self._in_a_fork()
        if _get_ident() == self._thread:
            return function()
        task = _Task(function)
        self._loop.run_callback_threadsafe(gevent.spawn, task.run)
        return task.wait()

    def _in_a_fork(self) -> WippyError:
        return WippyError(
            f"this host runs in process {self._process}, and process {os.getpid()} is a fork of it,"
            " which shares its connections: fork first, then start a host in each process (in"
            " gunicorn that is post_worker_init)",
            kind=Kind.INVALID,
            retryable=False,
        )


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
