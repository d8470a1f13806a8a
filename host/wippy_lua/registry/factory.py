"""Makes what an entry describes, from a module that is imported for it and not before."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from wippy_lua.clock import Clock
from wippy_lua.errors import ConfigError, WippyError
from wippy_lua.log import Log
from wippy_lua.registry.entry import Entry
from wippy_lua.registry.problem import problem_at


def make(module: str, entry: Entry, clock: Clock, log: Log) -> Any:
    """Returns what the module's function `from_entry` makes of an entry.

    Raises ConfigError with the entry's place for what cannot be made, as when an extra is missing.
    """
    try:
        return import_module(module).from_entry(entry, clock, log)
    except ConfigError:
        raise
    except WippyError as error:
        raise ConfigError([problem_at(entry.mark, entry.id, error.message)]) from error
