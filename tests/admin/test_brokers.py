"""/healthz while the network to a broker breaks, and comes back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from tests.admin.site import Site
from tests.admin.test_health import problems
from tests.drivers.proxy import Proxy
from tests.drivers.rabbitmq import RabbitMQ
from tests.drivers.redis.server import RedisServer
from tests.host.apps import make_host, wait_for
from wippy_lua import Host
from wippy_lua.admin.health import GRACE
from wippy_lua.admin.survey import PATIENCE

pytestmark = pytest.mark.network

ENTRIES = """\
- {{name: broker, {driver}}}
- {{name: tasks, kind: queue.queue, driver: broker}}
- name: worker
  kind: queue.consumer
  queue: tasks
  func: work
  lifecycle: {{auto_start: true}}
- {{name: work, kind: function.lua, source: "return function() end"}}
"""
DRIVER, CONSUMER = ("driver", "app:broker"), ("consumer", "app:worker")


def make(folder: Path, driver: str) -> Host:
    return make_host(folder, ENTRIES.format(driver=driver))


def metric(site: Site, name: str) -> float:
    lines = site.get("/metrics").body.decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{"))


@pytest.fixture
def redis_proxy(tmp_path: Path) -> Iterator[Proxy]:
    with RedisServer(tmp_path) as server, Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def rabbitmq_proxy(rabbitmq: RabbitMQ) -> Iterator[Proxy]:
    with Proxy(rabbitmq.port) as proxy:
        yield proxy


def check_red_and_green(host: Host, proxy: Proxy) -> None:
    with Site(host) as site, host:
        wait_for(lambda: metric(site, "wippy_lua_consumer_connected"))
        gevent.sleep(GRACE)
        assert problems(site) == []
        proxy.refuse(True)
        proxy.cut()
        wait_for(lambda: CONSUMER in problems(site))
        began = time.monotonic()
        site.get("/metrics")
        assert time.monotonic() - began < PATIENCE + 1.0
        proxy.refuse(False)
        wait_for(lambda: not problems(site), timeout=15.0)
        assert metric(site, "wippy_lua_driver_reconnects_total") >= 1
        assert metric(site, "wippy_lua_driver_connected") == 1
        host.publish("app:tasks", {"n": 1})
        wait_for(lambda: metric(site, "wippy_lua_handled_total"))


def test_a_cut_connection_to_redis_is_red_until_it_is_back(
    tmp_path: Path, redis_proxy: Proxy
) -> None:
    url = f"redis://127.0.0.1:{redis_proxy.port}/0"
    check_red_and_green(
        make(tmp_path, f"kind: queue.driver.redis, url: '{url}', lease: 1s"), redis_proxy
    )


def test_a_cut_connection_to_rabbitmq_is_red_until_it_is_back(
    tmp_path: Path, rabbitmq_proxy: Proxy
) -> None:
    url = f"amqp://127.0.0.1:{rabbitmq_proxy.port}"
    check_red_and_green(
        make(tmp_path, f"kind: queue.driver.amqp, url: '{url}', reconnect_delay: 100ms"),
        rabbitmq_proxy,
    )


def test_a_silent_connection_to_rabbitmq_is_found_by_its_heartbeats(
    tmp_path: Path, rabbitmq_proxy: Proxy
) -> None:
    url = f"amqp://127.0.0.1:{rabbitmq_proxy.port}"
    fields = f"kind: queue.driver.amqp, url: '{url}', heartbeat: 1s, reconnect_delay: 100ms"
    host = make(tmp_path, fields)
    with Site(host) as site, host:
        rabbitmq_proxy.freeze()
        wait_for(lambda: {DRIVER, CONSUMER} <= set(problems(site)), timeout=15.0)
        rabbitmq_proxy.thaw()
        wait_for(lambda: not problems(site), timeout=15.0)


def test_a_scrape_waits_for_a_silent_broker_no_longer_than_it_may(
    tmp_path: Path, redis_proxy: Proxy
) -> None:
    url = f"redis://127.0.0.1:{redis_proxy.port}/0"
    host = make(tmp_path, f"kind: queue.driver.redis, url: '{url}'")
    with Site(host) as site, host:
        assert 'wippy_lua_queue_depth{driver="app:broker"' in site.get("/metrics").body.decode()
        redis_proxy.freeze()
        began = time.monotonic()
        text = site.get("/metrics").body.decode()
        assert time.monotonic() - began < PATIENCE + 1.0
        assert "wippy_lua_queue_depth{" not in text
        assert metric_in(text, "wippy_lua_scrape_errors_total") == 1
        assert metric_in(text, "wippy_lua_published_total") == 0
        redis_proxy.thaw()


def metric_in(text: str, name: str) -> float:
    [line] = [line for line in text.splitlines() if line.startswith(name + "{")]
    return float(line.rpartition(" ")[2])
