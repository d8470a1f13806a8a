"""The memory driver in the place of another: an app's queues, with nothing outside touched."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from wippy_lua.clock import Clock
from wippy_lua.log import Log
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.driver import Driver
from wippy_lua.queue.drivers.memory.driver import MemoryDriver
from wippy_lua.queue.drivers.options import LARGEST_MAX_LENGTH
from wippy_lua.registry.entry import Entry

_MEMORY: Final = "queue.driver.memory"


def from_entry(entry: Entry, clock: Clock, _log: Log) -> Driver:
    """Returns a driver in memory for a `queue.driver.*` entry of any kind, not started."""
    return MemoryDriver(clock) if entry.kind == _MEMORY else StandIn(clock)


class StandIn(MemoryDriver):
    """Takes queues that were configured for another driver.

    Their `max_length` holds and other options mean nothing here. A queue without one is not
    bounded, as at the brokers, and one with `declare: false` is made, too: there is no other side
    that it could exist on.
    """

    def declare_queue(self, queue: QueueConfig) -> None:
        length = queue.options.get("max_length")
        options = {"max_length": LARGEST_MAX_LENGTH if length is None else length}
        super().declare_queue(replace(queue, declare=True, options=options))
