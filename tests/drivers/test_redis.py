"""The redis driver: the conformance suite against a real server, and what only it promises."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.drivers.redis_server import RedisServer
from wippy_lua.clock import SystemClock
from wippy_lua.log import NullLog
from wippy_lua.queue.driver import Driver
from wippy_lua.queue.drivers.redis import RedisDriver
from wippy_lua.testing import DriverSuite

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


class TestConformance(DriverSuite):
    lease = 1.0
    unit = 0.2

    @pytest.fixture
    def driver(self, server: RedisServer) -> Iterator[Driver]:
        driver = RedisDriver(server.url, SystemClock(), NullLog(), lease=self.lease)
        driver.start()
        yield driver
        driver.stop()
