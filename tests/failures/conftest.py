"""One broker of each kind for all tests here, and the figures of the runs at the end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.drivers.rabbitmq import RabbitMQ
from tests.drivers.redis.server import RedisServer
from tests.failures.figures import Figures, table
from tests.failures.places import Breakable, Broker, Folder

FIGURES = pytest.StashKey[Figures]()

LEASE = "1s"
#: All marked: whichever the driver, the hosts are processes that gevent has patched.
DRIVERS = [pytest.param(name, marks=pytest.mark.network) for name in ("redis", "amqp", "sqlite")]


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
def memory_broker() -> Broker:
    return Broker("memory", {})


@pytest.fixture(params=[*DRIVERS, "memory"])
def any_broker(request: pytest.FixtureRequest) -> Broker:
    """A place for messages that one process alone may use."""
    broker: Broker = request.getfixturevalue(f"{request.param}_broker")
    return broker


@pytest.fixture
def redis_breakable(redis_server: RedisServer, redis_broker: Broker) -> Breakable:
    kill = partial(redis_server.stop, signal.SIGKILL)
    stop = redis_server.stop
    return Breakable(redis_broker, redis_server.port, kill, stop, redis_server.start)


@pytest.fixture
def amqp_breakable(rabbitmq: RabbitMQ, amqp_broker: Broker) -> Breakable:
    ends = rabbitmq.kill, rabbitmq.stop
    return Breakable(amqp_broker, rabbitmq.port, *ends, rabbitmq.start, settling=12.0)


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


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    return pytestconfig.stash.setdefault(FIGURES, Figures())


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Shows the figures, those of runs that passed too."""
    figures = config.stash.get(FIGURES, None)
    if figures is not None and figures.rows:
        terminalreporter.section("runs with faults")
        for line in table(figures.rows):
            terminalreporter.write_line(line)
