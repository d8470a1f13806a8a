"""The redis driver passes the conformance suite against a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.drivers.redis.server import RedisServer
from tests.drivers.redis.support import LEASE, make_driver
from wippy_lua.queue.driver import Driver
from wippy_lua.testing import DriverSuite

pytestmark = pytest.mark.network


class TestConformance(DriverSuite):
    lease = LEASE
    unit = 0.2

    @pytest.fixture
    def driver(self, server: RedisServer) -> Iterator[Driver]:
        driver = make_driver(server)
        driver.start()
        yield driver
        driver.stop()
