"""What the tests of the SQS driver share: a service, drivers of it, and another program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest

from tests.drivers.sqs.declaring import LEASE, REGION, Start
from tests.drivers.sqs.server import Server, running
from wippy_lua.clock import SystemClock
from wippy_lua.log import NullLog
from wippy_lua.queue.drivers.sqs.api import Settings
from wippy_lua.queue.drivers.sqs.driver import SqsDriver


@pytest.fixture(scope="package")
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def settings(server: Server) -> Settings:
    return Settings(
        region=REGION,
        endpoint=server.endpoint,
        access_key_id="test",
        secret_access_key="test",  # noqa: S106 - any will do on loopback
        visibility_timeout=LEASE,
        wait_time=0,
    )


@pytest.fixture
def start(settings: Settings) -> Iterator[Start]:
    """Starts drivers with changed settings, and stops them in the end."""
    drivers: list[SqsDriver] = []

    def start(**changes: Any) -> SqsDriver:
        driver = SqsDriver(replace(settings, **changes), SystemClock(), NullLog())
        driver.start()
        drivers.append(driver)
        return driver

    yield start
    for driver in drivers:
        driver.stop()


@pytest.fixture
def driver(start: Start) -> SqsDriver:
    return start()


@pytest.fixture
def raw(server: Server) -> Iterator[Any]:
    """Another program on the same service."""
    client = boto3.client(
        "sqs",
        endpoint_url=server.endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the same
    )
    yield client
    client.close()
