"""What tests share: servers that are started when the first test asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gevent import monkey

from tests.drivers.rabbitmq import RabbitMQ
from tests.drivers.redis.server import RedisServer

pytest.register_assert_rewrite("wippy_lua.testing")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves tests of network drivers to the run that gevent has patched (`tests.patched`)."""
    if monkey.is_module_patched("socket"):
        return
    network = [item for item in items if item.get_closest_marker("network")]
    if network:
        config.hook.pytest_deselected(items=network)
        items[:] = [item for item in items if item not in network]


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    server = RabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    server.start()
    yield server
    server.end()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server
