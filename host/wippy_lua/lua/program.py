"""What a VM loads: a source with the modules it may require and the limits it runs under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wippy_lua.registry.entry import Source

DEFAULT_MEMORY = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Program:
    """A function, or a program that runs once, ready to be loaded into VMs.

    `modules` are the names of library and host modules it may require, None for all of them;
    `imports` maps an alias to the source of a library. `folder` is where a bare `main.lua` finds
    other files by name. `memory` is bytes for each VM, `timeout` seconds of wall time, None for
    no limit.
    """

    id: str
    source: Source
    method: str = "main"
    modules: frozenset[str] | None = frozenset()
    imports: Mapping[str, Source] = field(default_factory=dict)
    folder: Path | None = None
    memory: int = DEFAULT_MEMORY
    timeout: float | None = None
    preempt: bool = True
