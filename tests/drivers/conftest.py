"""Servers that the drivers' tests share; each is started when the first test asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.drivers.rabbitmq import RabbitMQ


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    server = RabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    server.start()
    yield server
    server.end()
