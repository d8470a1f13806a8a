"""Stores by kind. A store's module is imported when an entry of its kind appears, not before."""

from __future__ import annotations

from collections.abc import Mapping

from wippy_lua.clock import Clock
from wippy_lua.log import Log
from wippy_lua.registry.entry import Entry
from wippy_lua.registry.factory import make
from wippy_lua.store.store import Store

#: Each has a function `from_entry`.
_MODULES: Mapping[str, str] = {
    "store.memory": "wippy_lua.store.memory",
    "store.redis": "wippy_lua.store.redis",
    "store.sqlite": "wippy_lua.store.sqlite",
}


#: What can take the place of all of them.
_STAND_IN = "wippy_lua.store.stand_in"


def make_store(entry: Entry, clock: Clock, log: Log) -> Store:
    """Returns the store of a `store.*` entry, not started.

    Raises ConfigError with the entry's place for what cannot be made, as when an extra is missing.
    """
    store: Store = make(_MODULES[entry.kind], entry, clock, log)
    return store


def make_stand_in(entry: Entry, clock: Clock, log: Log) -> Store:
    """Returns a store in memory for an entry of any kind: nothing outside is touched, and no extra
    is needed."""
    store: Store = make(_STAND_IN, entry, clock, log)
    return store
