"""A broker that goes away in the middle of a repair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import gevent
import pytest

from tests.drivers.proxy import Proxy
from tests.drivers.rabbitmq import RabbitMQ
from tests.drivers.redis.server import RedisServer
from tests.operations.sites import Repair, Site, letters, repairing
from wippy_lua.errors import WippyError

pytestmark = pytest.mark.network

LETTERS = 60


@pytest.fixture
def amqp_proxy(rabbitmq: RabbitMQ) -> Iterator[tuple[Proxy, Site]]:
    with Proxy(rabbitmq.port) as proxy:
        url = f"amqp://127.0.0.1:{proxy.port}"
        yield proxy, Site("amqp", {"url": url, "reconnect_delay": "100ms"})


@pytest.fixture
def redis_proxy(redis_server: RedisServer) -> Iterator[tuple[Proxy, Site]]:
    with Proxy(redis_server.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        yield proxy, Site("redis", {"url": url, "lease": "1s"})


@pytest.mark.parametrize("name", ["amqp", "redis"])
def test_a_cut_in_the_middle_loses_nothing_and_is_not_counted_as_done(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    proxy, site = request.getfixturevalue(f"{name}_proxy")
    with repairing(site.write(tmp_path / "app")) as repair:
        wanted = Counter(message.id for message in repair.bury(*letters(LETTERS)))
        done = 0
        steps = repair.operations.replay("app:dead", rate=50.0)
        with suppress(WippyError):  # it may get over a cut, and need not
            for step in steps:
                done = step.done
                if done >= 20 and not step.finished:
                    proxy.cut()
        _finish(repair)
        found = Counter(message.id for message, _ in repair.drain("app:tasks"))
        assert 20 <= done <= found.total()
        assert set(found) == set(wanted)


def _finish(repair: Repair) -> None:
    """Replays until nothing is left, as an operator does after an outage."""
    with gevent.Timeout(30):
        while True:
            status = repair.operations.queue("app:dead")
            if status.error is None and not status.depth:
                return
            with suppress(WippyError):
                list(repair.operations.replay("app:dead"))
            gevent.sleep(0.2)
