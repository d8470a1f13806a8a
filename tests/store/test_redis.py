"""The Redis store against a real server: the conformance suite, and what its server may do."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from tests.drivers.redis.server import RedisServer
from wippy_lua.log import NullLog
from wippy_lua.store.redis import RedisStore
from wippy_lua.store.store import Store
from wippy_lua.testing import StoreSuite

pytestmark = pytest.mark.network

LEASE = 0.5
PREFIXES = (f"test{n}" for n in count(1))


def make(server: RedisServer, prefix: str) -> RedisStore:
    return RedisStore(server.url, NullLog(), prefix=prefix, lease=LEASE)


@pytest.fixture
def prefix() -> str:
    return next(PREFIXES)


@pytest.fixture
def store(server: RedisServer, prefix: str) -> Iterator[Store]:
    store = make(server, prefix)
    store.start()
    yield store
    store.stop()


@pytest.fixture
def other(server: RedisServer, prefix: str) -> Iterator[Store]:
    other = make(server, prefix)
    yield other
    other.stop()


class TestRedis(StoreSuite):
    @pytest.fixture
    def store(self, store: Store) -> Store:
        return store

    @pytest.fixture
    def other(self, other: Store) -> Store:
        return other
