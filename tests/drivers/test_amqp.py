"""The RabbitMQ driver against a real broker: the conformance suite on both types of queues."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import pytest

from tests.drivers.rabbitmq import RabbitMQ
from wippy_lua.clock import SystemClock
from wippy_lua.log import NullLog
from wippy_lua.queue.driver import Capabilities, Driver
from wippy_lua.queue.drivers.amqp.driver import AmqpDriver
from wippy_lua.queue.drivers.amqp.settings import QueueType, Settings
from wippy_lua.registry.kinds import AmqpDriverSpec
from wippy_lua.testing import DriverSuite
from wippy_lua.testing.probe import Patience

pytestmark = pytest.mark.network


def make_driver(url: str, queue_type: QueueType = "quorum") -> AmqpDriver:
    spec = AmqpDriverSpec(url=url, queue_type=queue_type, reconnect_delay=0.1)
    return AmqpDriver(Settings.from_spec(spec, "test:rabbitmq"), SystemClock(), NullLog())


class TestQuorum(DriverSuite):
    capabilities = Capabilities(priority=False, atomic_move=False, exact_info=False, browse=False)
    unit = 0.5
    patience = Patience(must=10.0, never=0.2)
    queue_type: ClassVar[QueueType] = "quorum"

    @pytest.fixture
    def driver(self, rabbitmq: RabbitMQ) -> Iterator[Driver]:
        driver = make_driver(rabbitmq.url, self.queue_type)
        driver.start()
        yield driver
        driver.stop()


class TestClassic(TestQuorum):
    capabilities = Capabilities(atomic_move=False, exact_info=False, browse=False)
    queue_type = "classic"
