"""Functions by ID: find one, lend it a VM, call it, say how it ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import gevent

from wippy_lua.call import Call, End
from wippy_lua.errors import CallError, Kind, WippyError
from wippy_lua.log import Log
from wippy_lua.lua.pool import Pool
from wippy_lua.lua.program import Program
from wippy_lua.lua.runtime import VM, Natives
from wippy_lua.queue.settle import Failure, Outcome
from wippy_lua.security.context import Security

SWEEP_SECONDS = 0.05  #: how late a call that waits in the host may notice its deadline
TRIM_SECONDS = 15.0
LOAD_SECONDS = 10.0  #: how long a module's top level may run


class Functions:
    """Every function of a host, with its pool of VMs. Belongs to one hub.

    `memory` is bytes for all VMs together, `recycle` the calls after which a VM is replaced.
    `nobody` is the security of modules as they load: their VMs are for every caller, so they load
    on behalf of none.
    """

    def __init__(
        self,
        natives: Natives,
        log: Log,
        *,
        memory: int,
        recycle: int,
        nobody: Security | None = None,
    ) -> None:
        self._natives = natives
        self._log = log
        self._memory = memory
        self._recycle = recycle
        self._nobody = nobody
        self._pools: dict[str, Pool] = {}
        self._active: set[Call] = set()
        self._sweeper: gevent.Greenlet[[], None] | None = None

    def add(self, program: Program) -> None:
        """Makes a function known; the same ID again replaces it for the calls to come."""
        self._pools[program.id] = Pool(program, self.load, self._recycle)

    def __contains__(self, function: str) -> bool:
        return function in self._pools

    def program(self, function: str) -> Program:
        """Returns what a function was added with; raises WippyError when there is none."""
        return self._pool(function).program

    def warm(self, function: str) -> None:
        """Loads one VM, so that a source which does not load is found before the first call."""
        pool = self._pool(function)
        pool.release(pool.acquire())

    def start(self) -> None:
        """Starts watching deadlines of calls that wait in the host, and dropping idle VMs."""
        if self._sweeper is None:
            self._sweeper = gevent.spawn(self._sweep)

    def stop(self) -> None:
        """Interrupts the calls still in progress; quiet when never started."""
        for call in tuple(self._active):
            call.interrupt()
        if self._sweeper is not None:
            self._sweeper.kill()
            self._sweeper = None

    def handle(self, call: Call, kind: int, body: bytes) -> Outcome:
        """Calls a function with a message's body; blocks until it ended, raises nothing of it."""
        try:
            pool = self._pools.get(call.function)
            if pool is None:
                pool = self._pool(call.function)  # raises what is wrong
            vm = pool.acquire()
        except WippyError as error:
            return Failure(error, getattr(error, "stack", ""))
        self._active.add(call)
        try:
            return vm.handle(call, kind, body)
        finally:
            self._active.discard(call)
            pool.release(vm)

    def call(self, call: Call, arguments: bytes) -> bytes | None:
        """Calls a function with packed arguments; returns its packed result or raises CallError."""
        pool = self._pool(call.function)
        vm = pool.acquire()
        try:
            with self.in_progress(call):
                return vm.call(call, arguments)
        finally:
            pool.release(vm)

    def load(self, program: Program, security: Security | None = None) -> VM:
        """Returns a loaded VM of its own for a program that runs long, and alone."""
        vm = self.new_vm(program)
        deadline = time.monotonic() + LOAD_SECONDS
        call = Call(program.id, deadline, loading=True, security=security or self._nobody)
        with self.in_progress(call):
            vm.load(call)
        return vm

    def new_vm(self, program: Program) -> VM:
        """Returns a VM that has not loaded its source yet, for a program that runs once."""
        self._make_room()
        return VM(program, self._natives, self._log)

    @contextmanager
    def in_progress(self, call: Call) -> Iterator[None]:
        """Counts a call among those that `stop` interrupts and whose deadline is watched."""
        self._active.add(call)
        try:
            yield
        finally:
            self._active.discard(call)

    def active(self) -> Iterator[Call]:
        """Yields the calls in progress."""
        yield from tuple(self._active)

    def usage(self) -> Iterator[tuple[str, int, int]]:
        """Yields each function with how many VMs it has, and the bytes that they use."""
        for function, pool in tuple(self._pools.items()):
            yield function, len(pool), pool.memory

    def vm_count(self) -> int:
        """Returns how many VMs there are, lent and idle."""
        return sum(map(len, self._pools.values()))

    def _pool(self, function: str) -> Pool:
        pool = self._pools.get(function)
        if pool is None:
            raise CallError(
                f"function {function!r} not found",
                kind=Kind.NOT_FOUND,
                retryable=False,
                details={"function": function},
            )
        return pool

    def _make_room(self) -> None:
        if self._used() < self._memory:
            return
        for pool in self._pools.values():
            pool.trim(idle_seconds=0)
        if self._used() >= self._memory:
            raise CallError(
                f"all Lua VMs together use {self._memory >> 20} MiB, their limit (vm_memory)",
                kind=Kind.UNAVAILABLE,
                retryable=True,
            )

    def _used(self) -> int:
        return sum(pool.memory for pool in self._pools.values())

    def _sweep(self) -> None:
        # A call that computes looks at its deadline itself; one that waits in the host is woken.
        trim_at = time.monotonic() + TRIM_SECONDS
        while True:
            gevent.sleep(SWEEP_SECONDS)
            now = time.monotonic()
            for call in tuple(self._active):
                if call.waiting and now >= call.deadline:
                    call.interrupt(End.TIMEOUT)
            if now >= trim_at:
                trim_at = now + TRIM_SECONDS
                for pool in self._pools.values():
                    pool.trim()
