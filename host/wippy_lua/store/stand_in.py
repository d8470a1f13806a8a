"""The memory store in the place of another: an app's values, with nothing outside touched."""

from __future__ import annotations

from sys import maxsize

from wippy_lua.clock import Clock
from wippy_lua.log import Log
from wippy_lua.registry.entry import Entry
from wippy_lua.store import memory
from wippy_lua.store.memory import MemoryStore


def from_entry(entry: Entry, clock: Clock, log: Log) -> MemoryStore:
    """Returns a store in memory for a `store.*` entry; the others bound no number of keys."""
    if entry.kind == "store.memory":
        return memory.from_entry(entry, clock, log)
    return MemoryStore(entry.id, clock, max_size=maxsize, cleanup_interval=0)
