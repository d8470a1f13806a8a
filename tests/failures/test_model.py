"""The memory and the SQLite driver against the model."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.drivers.sqlite_place import LEASE, let_disk_rest
from tests.failures.crash import IS_LONG
from tests.failures.figures import Figures
from tests.failures.lives import Played, play
from tests.failures.model import DriverMachine
from wippy_lua.log import NullLog
from wippy_lua.queue.driver import Driver
from wippy_lua.queue.drivers.memory.driver import MemoryDriver
from wippy_lua.queue.drivers.sqlite.driver import SqliteDriver

#: 500 lives, in parts that can be run one by one.
PARTS = range(5 if IS_LONG else 1)


def lives(short: int) -> dict[str, int]:
    """Returns how many lives a part has, and how long they are."""
    return {"lives": 100, "steps": 50} if IS_LONG else {"lives": short, "steps": 30}


class MemoryMachine(DriverMachine):
    survives_crash = False

    def make_driver(self) -> Driver:
        return MemoryDriver(self.clock)


class SqliteMachine(DriverMachine):
    lease = LEASE

    def __init__(self, played: Played) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.drivers: list[Driver] = []
        super().__init__(played)

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
def test_the_memory_driver_does_what_the_model_does(part: int, figures: Figures) -> None:
    print("part", part)  # noqa: T201 - shown beside the steps that failed
    play(MemoryMachine, "memory", figures, **lives(short=60))


@pytest.mark.timeout(290)
@pytest.mark.parametrize("part", PARTS)
def test_the_sqlite_driver_does_what_the_model_does(part: int, figures: Figures) -> None:
    print("part", part)  # noqa: T201 - shown beside the steps that failed
    play(SqliteMachine, "sqlite", figures, **lives(short=25))
