"""Redis: a filled queue is drained, every message acked and deleted; only the draining is timed.

The floor is redis-py's tightest loop: one pipeline that acks and deletes a batch and reads the
next, and nothing done with the messages. Ours decodes each into a Lua handler. Both drain the same
messages from a server of their own that flushes its log once a second, its usual setting.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import gevent

from tests.benchmarks.cases import LARGE, SMALL, Case
from tests.benchmarks.workload import Workload
from tests.drivers.redis.server import RedisServer
from wippy_lua import Host
from wippy_lua.log import NullLog

BATCH = 1000
INDEX = """\
version: "1.0"
namespace: bench
entries:
  - {{name: redis, kind: queue.driver.redis, url: "{url}"}}
  - {{name: work, kind: queue.queue, driver: redis, queue_name: {queue}}}
  - name: consumer
    kind: queue.consumer
    queue: work
    func: handler
    concurrency: {concurrency}
    prefetch: {batch}
  - name: handler
    kind: function.lua
    source: "return function(body) return body.id end"
"""


@contextmanager
def broker() -> Iterator[RedisServer]:
    """Runs a Redis server for the benchmark."""
    options = "--appendfsync", "everysec"
    with TemporaryDirectory() as folder, RedisServer(Path(folder), *options) as server:
        yield server


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Gives the cases, with a server for them."""
    with broker() as server:
        drain, drain_ours = partial(floor, server=server), partial(ours, server=server)
        yield [
            Case("redis, 80 B table", drain, drain_ours, SMALL, 1.0),
            Case("redis, 2 KB table", drain, drain_ours, LARGE, 0.1),
        ]


def floor(work: Workload, server: RedisServer) -> float:
    """Drains by redis-py; returns seconds."""
    queue = f"bench{uuid4().hex}"
    with TemporaryDirectory() as folder, server.client() as client:
        _fill(work, server, queue, Path(folder))
        key, settled, left = f"wippy:{{{queue}}}", list[bytes](), work.count
        begin = time.perf_counter()
        while left or settled:
            with client.pipeline(transaction=False) as pipe:
                if settled:
                    pipe.xack(key, "wippy", *settled)
                    pipe.xdel(key, *settled)
                pipe.xreadgroup("wippy", "floor", {key: ">"}, count=BATCH)
                read = pipe.execute()[-1]
            settled = [entry for _, entries in read for entry, _ in entries]
            left -= len(settled)
        return time.perf_counter() - begin


def ours(work: Workload, server: RedisServer) -> float:
    """Drains by a host; returns seconds."""
    queue = f"bench{uuid4().hex}"
    with TemporaryDirectory() as folder:
        host = _fill(work, server, queue, Path(folder))
        with host:
            begin = time.perf_counter()
            host.start_service("bench:consumer")
            while host.info("bench:work").message_count:
                gevent.sleep(0.01)
            return time.perf_counter() - begin


def _fill(work: Workload, server: RedisServer, queue: str, folder: Path) -> Host:
    """Publishes the messages through a host; returns it, stopped."""
    index = INDEX.format(url=server.url, queue=queue, concurrency=work.concurrency, batch=BATCH)
    (folder / "_index.yaml").write_text(index)
    host = Host(folder, log=NullLog())
    with host:
        publishers = [
            gevent.spawn(_publish, host, work, start, start + BATCH)
            for start in range(0, work.count, BATCH)
        ]
        gevent.joinall(publishers, raise_error=True)
    return host


def _publish(host: Host, work: Workload, start: int, stop: int) -> None:
    items = [
        {"sku": "A-1001-blue", "qty": n, "price": 12.5, "gift": n % 2 == 0}
        for n in range(work.items)
    ]
    for number in range(start, min(stop, work.count)):
        body = {"id": number, "action": "process", "user": "someone@example.org"}
        data = body | {"data": "0123456789abcdef"} | ({"items": items} if items else {})
        host.publish("bench:work", data)
