"""Drivers by kind. A driver's module is imported when an entry of its kind appears, not before."""

from __future__ import annotations

from collections.abc import Mapping

from wippy_lua.clock import Clock
from wippy_lua.log import Log
from wippy_lua.queue.driver import Driver
from wippy_lua.registry.entry import Entry
from wippy_lua.registry.factory import make

#: Each has a function `from_entry`.
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
    driver: Driver = make(_MODULES[entry.kind], entry, clock, log)
    return driver


def make_stand_in(entry: Entry, clock: Clock, log: Log) -> Driver:
    """Returns a driver in memory for an entry of any kind, not started: nothing outside is touched,
    and no extra is needed."""
    driver: Driver = make(_STAND_IN, entry, clock, log)
    return driver
