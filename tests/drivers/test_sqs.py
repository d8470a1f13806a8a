"""The SQS driver: the conformance suite, and what only this driver promises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.drivers.sqs_server import Server, running
from wippy_lua.clock import SystemClock
from wippy_lua.log import NullLog
from wippy_lua.queue.driver import Driver
from wippy_lua.queue.drivers.sqs_api import Settings
from wippy_lua.queue.drivers.sqs_driver import CAPABILITIES, SqsDriver
from wippy_lua.testing import DriverSuite

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def settings(server: Server) -> Settings:
    return Settings(
        region="eu-central-1",
        endpoint=server.endpoint,
        access_key_id="test",
        secret_access_key="test",
        visibility_timeout=2,
        wait_time=0,
    )


def started(settings: Settings, **changes: int) -> SqsDriver:
    driver = SqsDriver(replace(settings, **changes), SystemClock(), NullLog())
    driver.start()
    return driver


class TestConformance(DriverSuite):
    capabilities = CAPABILITIES
    can_peek = False
    purges_delayed = False
    counts_without_expired = False
    largest_body = 700 * 1024  # As base64 it has to fit into 1 MiB.
    lease = 2.0

    @pytest.fixture
    def driver(self, settings: Settings) -> Iterator[Driver]:
        driver = started(settings)
        yield driver
        driver.stop()
