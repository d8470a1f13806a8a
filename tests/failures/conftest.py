"""One broker of each kind for all tests here, and the figures of the runs at the end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.drivers.rabbitmq import RabbitMQ
from tests.drivers.redis.server import RedisServer
from tests.failures.places import Breakable, Broker, Folder

#: One line for each run with faults.
FIGURES = pytest.StashKey[list[str]]()

LEASE = "1s"
DRIVERS = [
    pytest.param("redis", marks=pytest.mark.network),
    pytest.param("amqp", marks=pytest.mark.network),
    "sqlite",
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


@pytest.fixture
def redis_broker(redis_server: RedisServer) -> Broker:
    return Broker("redis", {"url": redis_server.url}, LEASE)


@pytest.fixture
def amqp_broker(rabbitmq: RabbitMQ) -> Broker:
    return Broker("amqp", {"url": rabbitmq.url}, sends_again=True)


@pytest.fixture
def sqlite_broker(tmp_path: Path) -> Broker:
    return Broker("sqlite", {"file": str(tmp_path / "queue.db")}, LEASE)


@pytest.fixture(params=DRIVERS)
def broker(request: pytest.FixtureRequest) -> Broker:
    """A place for messages; the same servers serve all tests, which use queues of their own."""
    broker: Broker = request.getfixturevalue(f"{request.param}_broker")
    return broker


@pytest.fixture
def redis_breakable(redis_server: RedisServer, redis_broker: Broker) -> Breakable:
    kill = partial(redis_server.stop, signal.SIGKILL)
    return Breakable(redis_broker, redis_server.port, kill, redis_server.start)


@pytest.fixture
def amqp_breakable(rabbitmq: RabbitMQ, amqp_broker: Broker) -> Breakable:
    return Breakable(amqp_broker, rabbitmq.port, rabbitmq.kill, rabbitmq.start, settling=12.0)


@pytest.fixture(params=["redis", "amqp"])
def breakable(request: pytest.FixtureRequest) -> Breakable:
    """A broker that can be killed, and whose network can fail."""
    breakable: Breakable = request.getfixturevalue(f"{request.param}_breakable")
    return breakable


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """The folder of the host processes' app."""
    path = tmp_path / "app"
    path.mkdir()
    return Folder(path)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The folder of this process's app."""
    path = tmp_path / "own"
    path.mkdir()
    return path


@pytest.fixture
def figures(pytestconfig: pytest.Config) -> list[str]:
    return pytestconfig.stash.setdefault(FIGURES, [])


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Shows the figures, those of runs that passed too."""
    lines = config.stash.get(FIGURES, [])
    if lines:
        terminalreporter.section("runs with faults")
        for line in lines:
            terminalreporter.write_line(line)
