"""Drivers by kind. A driver's module is imported when an entry of its kind appears, not before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from wippy_lua.clock import Clock
from wippy_lua.errors import ConfigError, WippyError
from wippy_lua.log import Log
from wippy_lua.queue.driver import Driver
from wippy_lua.registry.entry import Entry
from wippy_lua.registry.problem import problem_at

#: Makes a driver of its entry: each driver module has a function `from_entry` of this shape.
Factory = Callable[[Entry, Clock, Log], Driver]

_MODULES: Mapping[str, str] = {
    "queue.driver.amqp": "wippy_lua.queue.drivers.amqp.driver",
    "queue.driver.memory": "wippy_lua.queue.drivers.memory.driver",
    "queue.driver.redis": "wippy_lua.queue.drivers.redis.driver",
    "queue.driver.sqs": "wippy_lua.queue.drivers.sqs.entry",
    "queue.driver.sqlite": "wippy_lua.queue.drivers.sqlite.driver",
}

#: What can take the place of all of them.
_STAND_IN = "wippy_lua.queue.drivers.memory.stand_in"


def make_driver(entry: Entry, clock: Clock, log: Log) -> Driver:
    """Returns the driver of a `queue.driver.*` entry, not started.

    Raises ConfigError with the entry's place for what cannot be made, as when an extra is missing.
    """
    try:
        factory: Factory = import_module(_MODULES[entry.kind]).from_entry
        return factory(entry, clock, log)
    except ConfigError:
        raise
    except WippyError as error:
        raise ConfigError([problem_at(entry.mark, entry.id, error.message)]) from error


def make_stand_in(entry: Entry, clock: Clock, log: Log) -> Driver:
    """Returns a driver in memory for an entry of any kind, not started: nothing outside is touched,
    and no extra is needed."""
    factory: Factory = import_module(_STAND_IN).from_entry
    return factory(entry, clock, log)
