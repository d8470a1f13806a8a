"""What a process holds: memory, open files, greenlets and Lua VMs."""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import gevent

from wippy_lua.lua.runtime import VM

PAGE = os.sysconf("SC_PAGE_SIZE")
STATUS = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class Vitals:
    """`memory` is bytes of this process in RAM; greenlets and VMs are those not yet ended."""

    memory: int
    files: int
    greenlets: int
    vms: int

    @classmethod
    def now(cls) -> Self:
        """Collects garbage and counts; takes some 100 ms, during which nothing else runs."""
        gc.collect()
        objects = gc.get_objects()
        greenlets = sum(isinstance(each, gevent.Greenlet) and not each.dead for each in objects)
        vms = sum(isinstance(each, VM) for each in objects)
        return cls(memory(), open_files(), greenlets, vms)


def memory() -> int:
    """Returns the bytes of this process that are in RAM."""
    return int(STATUS.read_text().split()[1]) * PAGE


def open_files() -> int:
    """Returns how many file descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))
