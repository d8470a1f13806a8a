"""A function's VMs: as many as it has calls in progress, kept warm between calls."""

from __future__ import annotations

import time
from collections.abc import Callable

from wippy_lua.lua.program import Program
from wippy_lua.lua.runtime import VM

IDLE_SECONDS = 60.0  #: a VM that nobody used for so long is dropped
KEEP_MEMORY = 0.5  #: a VM that holds more than this share of its limit after a call is dropped


class Pool:
    """Lends out VMs of one program; grows on demand, and shrinks when `trim` is called.

    The last one given back is lent first, so that those in excess grow old and are dropped.
    """

    def __init__(self, program: Program, make: Callable[[Program], VM], recycle: int) -> None:
        self.program = program
        self._make = make
        self._recycle = recycle
        self._keep_memory = program.memory * KEEP_MEMORY
        self._vms: set[VM] = set()
        self._idle: list[VM] = []

    def __len__(self) -> int:
        return len(self._vms)

    @property
    def memory(self) -> int:
        """Bytes in use by all VMs."""
        return sum(vm.memory for vm in self._vms)

    def acquire(self) -> VM:
        """Returns a loaded VM that is the caller's alone; raises CallError when loading fails."""
        if self._idle:
            return self._idle.pop()
        vm = self._make(self.program)
        self._vms.add(vm)
        return vm

    def release(self, vm: VM) -> None:
        """Takes a VM back, to lend it again if it is in good state."""
        if vm.healthy and vm.calls < self._recycle and vm.memory < self._keep_memory:
            vm.last_used = time.monotonic()
            self._idle.append(vm)
        else:
            self._vms.discard(vm)

    def trim(self, idle_seconds: float = IDLE_SECONDS) -> None:
        """Drops the VMs that were not used for so long."""
        oldest = time.monotonic() - idle_seconds
        kept = [vm for vm in self._idle if vm.last_used > oldest]
        self._vms.difference_update(set(self._idle) - set(kept))
        self._idle = kept
