"""The memory and the SQLite driver against the model."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.drivers.model import DriverMachine
from tests.drivers.sqlite_place import LEASE, let_disk_rest
from wippy_lua.log import NullLog
from wippy_lua.queue.driver import Driver
from wippy_lua.queue.drivers.memory.driver import MemoryDriver
from wippy_lua.queue.drivers.sqlite.driver import SqliteDriver

IS_LONG = os.environ.get("WIPPY_LUA_LONG") == "1"


#: 500 lives, in parts that can be run one by one.
PARTS = range(5 if IS_LONG else 1)


def live(machine: type[DriverMachine], part: int, *, short: int) -> None:
    """Tries some lives of a driver, each of another sequence of steps."""
    print("part", part)  # noqa: T201 - shown beside the steps that failed
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=100 if IS_LONG else short,
            stateful_step_count=50 if IS_LONG else 30,
            deadline=None,
            database=None,
            derandomize=not IS_LONG,
            suppress_health_check=list(HealthCheck),
        ),
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


@pytest.mark.timeout(290)
@pytest.mark.parametrize("part", PARTS)
def test_the_memory_driver_does_what_the_model_does(part: int) -> None:
    live(MemoryMachine, part, short=60)


@pytest.mark.timeout(290)
@pytest.mark.parametrize("part", PARTS)
def test_the_sqlite_driver_does_what_the_model_does(part: int) -> None:
    live(SqliteMachine, part, short=8)
