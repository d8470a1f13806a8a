"""The SQLite driver: the conformance suite, and what only this driver promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from wippy_lua.log import NullLog
from wippy_lua.queue.driver import Driver
from wippy_lua.queue.drivers.sqlite import SqliteDriver
from wippy_lua.testing import DriverSuite, VirtualClock
from wippy_lua.testing.probe import Patience

QUICK = Patience(must=10.0, never=0.03)


def let_disk_rest(driver: Driver) -> None:
    """Returns when all that was begun is on the disk: a job's turn comes after what came before."""
    assert isinstance(driver, SqliteDriver)
    gevent.sleep(0)
    for _ in range(2):
        driver._serving.call(lambda _transaction: None)


class TestConformance(DriverSuite):
    lease = 30.0
    patience = QUICK

    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[Driver]:
        self.clock = VirtualClock()
        self.current = driver = SqliteDriver(
            tmp_path / "queue.db", self.clock, NullLog(), synchronous="normal", lease=self.lease
        )
        driver.start()
        yield driver
        driver.stop()

    def advance(self, seconds: float) -> None:
        let_disk_rest(self.current)
        self.clock.advance(seconds)
