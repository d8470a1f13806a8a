"""One server for all tests of a file, and drivers connected to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis

from tests.drivers.redis.server import RedisServer
from tests.drivers.redis.support import make_driver
from wippy_lua.queue.drivers.redis.driver import RedisDriver


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with server.client() as client:
        yield client


@pytest.fixture
def driver(server: RedisServer) -> Iterator[RedisDriver]:
    driver = make_driver(server)
    driver.start()
    yield driver
    driver.stop()


@pytest.fixture
def other(server: RedisServer) -> Iterator[RedisDriver]:
    """What another process would have."""
    other = make_driver(server)
    other.start()
    yield other
    other.stop()
