"""One broker of each kind for all tests here; each test has queues of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.drivers.rabbitmq import RabbitMQ
from tests.drivers.redis.server import RedisServer
from tests.drivers.sqs.server import Server, running
from tests.operations.sites import Repair, Site, repairing, repairing_in_host

BROKERS = [
    "sqlite",
    pytest.param("redis", marks=pytest.mark.network),
    pytest.param("amqp", marks=pytest.mark.network),
    pytest.param("sqs", marks=pytest.mark.network),
]


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


@pytest.fixture(scope="session")
def sqs_server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def memory_site() -> Site:
    return Site("memory")


@pytest.fixture
def sqlite_site(tmp_path: Path) -> Site:
    return Site("sqlite", {"file": str(tmp_path / "queue.db"), "lease": "1s"})


@pytest.fixture
def redis_site(redis_server: RedisServer) -> Site:
    return Site("redis", {"url": redis_server.url, "lease": "1s"})


@pytest.fixture
def amqp_site(rabbitmq: RabbitMQ) -> Site:
    return Site("amqp", {"url": rabbitmq.url})


@pytest.fixture
def sqs_site(sqs_server: Server, monkeypatch: pytest.MonkeyPatch) -> Site:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    place = {"region": "eu-central-1", "endpoint": sqs_server.endpoint}
    return Site("sqs", {**place, "visibility_timeout": 2, "wait_time": 0})


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> Site:
    """A driver whose queues outlive its host."""
    site: Site = request.getfixturevalue(f"{request.param}_site")
    return site


@pytest.fixture(params=["memory", *BROKERS])
def site(request: pytest.FixtureRequest) -> Site:
    """Any driver."""
    site: Site = request.getfixturevalue(f"{request.param}_site")
    return site


@pytest.fixture
def app(site: Site, tmp_path: Path) -> Path:
    return site.write(tmp_path / "app")


@pytest.fixture
def repair(site: Site, app: Path) -> Iterator[Repair]:
    """Operations on any driver: as a command does, but in a host for what lives only there."""
    way = repairing_in_host if site.name == "memory" else repairing
    with way(app) as repair:
        yield repair
