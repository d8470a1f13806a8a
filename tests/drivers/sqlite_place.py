"""A queue file in a test's folder, and drivers of it that believe to be processes of their own."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import gevent

from wippy_lua.log import NullLog
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.driver import Driver
from wippy_lua.queue.drivers.sqlite.driver import SqliteDriver
from wippy_lua.testing import QueueProbe, VirtualClock
from wippy_lua.testing.probe import Patience

LEASE = 30.0
QUICK = Patience(must=10.0, never=0.03)


class Place:
    """A file, and drivers of it that each believe to be a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "data" / "queue.db"
        self.clock = VirtualClock()
        self._drivers: list[SqliteDriver] = []

    def driver(self, clock: VirtualClock | None = None, lease: float = LEASE) -> SqliteDriver:
        driver = SqliteDriver(self.file, clock or self.clock, NullLog(), lease=lease)
        driver.start()
        self._drivers.append(driver)
        return driver

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Does what another program would do to the file; returns the rows of the last."""
        with closing(sqlite3.connect(self.file, isolation_level=None)) as db:
            return [db.execute(statement).fetchall() for statement in statements][-1]

    def stop(self) -> None:
        for driver in self._drivers:
            driver.stop()


def let_disk_rest(driver: Driver) -> None:
    """Returns when all that was begun is on the disk: a job's turn comes after what came before."""
    assert isinstance(driver, SqliteDriver)
    gevent.sleep(0)
    for _ in range(2):
        driver._serving.call(lambda _transaction: None)


def declare(driver: SqliteDriver, name: str = "tasks", **options: object) -> QueueProbe:
    driver.declare_queue(QueueConfig(f"app:{name}", "app:sqlite", name, options=options))
    return QueueProbe(driver, f"app:{name}", QUICK)


def advance(place: Place, seconds: float, *drivers: SqliteDriver) -> None:
    for driver in drivers:
        let_disk_rest(driver)
    place.clock.advance(seconds)
