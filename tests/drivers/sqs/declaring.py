"""A service's constants, and queues that no other test has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from wippy_lua.queue.drivers.sqs.driver import SqsDriver
from wippy_lua.testing import DriverSuite, QueueProbe
from wippy_lua.testing.probe import Patience

PATIENCE = Patience()
REGION = "eu-central-1"
LEASE = 2  #: seconds

#: Starts a driver, with changed settings.
Start = Callable[..., SqsDriver]


def declare(driver: SqsDriver, name: str = "", **options: object) -> QueueProbe:
    config = DriverSuite().config(**options)
    if name:
        config = replace(config, queue_name=f"{config.queue_name}{name}")
    driver.declare_queue(config)
    return QueueProbe(driver, config.id, PATIENCE)


def url_of(driver: SqsDriver, queue: QueueProbe) -> str:
    return driver._queues[queue.id].place.url
