"""The memory and the SQLite driver against the model."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, settings

from tests.drivers.model import DriverMachine
from tests.drivers.sqlite_place import LEASE, let_disk_rest
from wippy_lua.log import NullLog
from wippy_lua.queue.driver import Driver
from wippy_lua.queue.drivers.memory.driver import MemoryDriver
from wippy_lua.queue.drivers.sqlite.driver import SqliteDriver

IS_LONG = os.environ.get("WIPPY_LUA_LONG") == "1"


def lives(short: int) -> settings:
    """Returns how many lives of how many steps a machine tries."""
    return settings(
        max_examples=500 if IS_LONG else short,
        stateful_step_count=50 if IS_LONG else 30,
        deadline=None,
        derandomize=not IS_LONG,
        suppress_health_check=list(HealthCheck),
    )


class MemoryMachine(DriverMachine):
    survives_crash = False

    def make_driver(self) -> Driver:
        return MemoryDriver(self.clock)


class SqliteMachine(DriverMachine):
    lease = LEASE

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.drivers: list[Driver] = []
        super().__init__()

    def make_driver(self) -> Driver:
        file = Path(self.folder.name) / "queue.db"
        driver = SqliteDriver(file, self.clock, NullLog(), synchronous="normal", lease=LEASE)
        self.drivers.append(driver)
        return driver

    def rest(self) -> None:
        let_disk_rest(self.driver)

    def teardown(self) -> None:
        for driver in self.drivers:
            driver.stop()
        self.folder.cleanup()


TestMemory = MemoryMachine.TestCase
TestMemory.settings = lives(60)
TestSqlite = SqliteMachine.TestCase
TestSqlite.settings = lives(12)
