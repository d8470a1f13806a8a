"""What the supervisor runs besides consumers: drivers and Lua programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from time import monotonic

import gevent
from gevent.event import Event

from wippy_lua.call import Call
from wippy_lua.errors import CallError, StopTimeout
from wippy_lua.functions import Functions
from wippy_lua.log import Log
from wippy_lua.lua.program import Program
from wippy_lua.lua.runtime import VM
from wippy_lua.queue.driver import Driver
from wippy_lua.security.context import Security

Exited = Callable[[BaseException | None], None]

#: Seconds that an interrupted program gets to unwind.
UNWIND_SECONDS = 1.0


class DriverService:
    """A driver with the queues that it has to know before anybody uses it."""

    def __init__(self, driver: Driver, declare: Callable[[], None]) -> None:
        self._driver = driver
        self._declare = declare

    def start(self, exited: Exited) -> None:  # noqa: ARG002 - a driver reconnects by itself
        """Connects and declares the queues."""
        self._driver.start()
        self._declare()

    def stop(self, timeout: float) -> None:
        """Disconnects; raises StopTimeout when the broker holds that up."""
        with gevent.Timeout(timeout, StopTimeout("driver", timeout, ["disconnecting"])):
            self._driver.stop()


class ProcessService:
    """A Lua program that runs until it returns: the service of a `process.service` entry.

    It is stopped at its next wait (`time.sleep`, a publish that blocks): that is where a program
    can be ended without a harm. What computes gets until the timeout, and is then interrupted.
    """

    def __init__(
        self,
        name: str,
        load: Callable[[], VM],
        in_progress: Callable[[Call], AbstractContextManager[None]],
        log: Log,
        security: Security | None,
    ) -> None:
        self._name = name
        self._load = load
        self._in_progress = in_progress
        self._log = log.bind(logger="process", service=name)
        self._security = security
        self._greenlet: gevent.Greenlet[..., None] | None = None
        self._call: Call | None = None

    def start(self, exited: Exited) -> None:
        """Loads the program, so that what does not load fails the start, and lets it run."""
        vm = self._load()
        self._call = Call(vm.program.id, security=self._security)
        self._greenlet = gevent.spawn(self._run, vm, self._call, exited)

    def stop(self, timeout: float) -> None:
        """Ends the program; raises StopTimeout when it computed on to the end of `timeout`."""
        greenlet, self._greenlet = self._greenlet, None
        call = self._call
        if greenlet is None or call is None:
            return
        call.end_at_wait()
        try:
            greenlet.join(timeout)
        finally:
            call.interrupt()  # harmless to one that has ended
        if greenlet.dead:
            return
        greenlet.join(UNWIND_SECONDS)
        raise StopTimeout(self._name, timeout, [call.function])

    def _run(self, vm: VM, call: Call, exited: Exited) -> None:
        call.greenlet = gevent.getcurrent()
        error: BaseException | None = None
        try:
            with self._in_progress(call):
                vm.call(call, b"\x90")  # MessagePack's empty list: no arguments
        except CallError as failure:
            error = failure
        if call.end is None:
            if error is not None:
                self._log.error(
                    "process failed", error=str(error), stack=getattr(error, "stack", "")
                )
            exited(error)


class MainProgram:
    """Runs an app's `main.lua`, once, and ends it as a process is ended: at its next wait."""

    def __init__(self, functions: Functions, security: Security | None) -> None:
        self._functions = functions
        self._security = security
        self._call: Call | None = None
        self._over = Event()
        self._ending_since = 0.0

    def run(self, program: Program, arguments: Sequence[str]) -> object:
        """Returns what it returned; raises CallError, of kind CANCELED when it was ended."""
        vm = self._functions.new_vm(program)
        self._over.clear()
        self._call = call = Call(program.id, security=self._security)
        try:
            with self._functions.in_progress(call):
                return vm.run(call, arguments)
        finally:
            self._call = None
            self._over.set()

    def end(self) -> None:
        """Lets it run on to its next wait and no further; quiet when it does not run."""
        self._ending_since = monotonic()
        if self._call is not None:
            self._call.end_at_wait()

    def join(self, timeout: float) -> None:
        """Blocks until it has ended; `timeout` seconds after `end`, interrupts it and raises
        StopTimeout."""
        call = self._call
        if call is None:
            return
        left = self._ending_since + timeout - monotonic()
        if self._over.wait(max(0.0, left)):
            return
        call.interrupt()
        self._over.wait(UNWIND_SECONDS)
        raise StopTimeout(call.function, timeout, [call.function])
