"""Redis: a filled queue is drained, every message acked and deleted; only the draining is timed.

The floor is redis-py's tightest loop: one pipeline that acks and deletes a batch and reads the
next, each message decoded and given to a bare Lua handler. Both drain copies of one stream, from a
server of their own that flushes its log once a second, its usual setting.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from tests.benchmarks import floor
from tests.benchmarks.app import (
    HANDLER,
    LARGE,
    PUBLISHER,
    SMALL,
    consumer,
    driver,
    function,
    host_of,
    publish_all,
    queue,
    wait_until_empty,
)
from tests.benchmarks.brokers import Brokers
from tests.benchmarks.cases import Case, Scale, at_least
from tests.benchmarks.peer import peers_on
from tests.drivers.redis.server import RedisServer

BATCH = 1000


@contextmanager
def cases(scale: Scale, brokers: Brokers) -> Iterator[list[Case]]:
    """Gives the cases."""
    server = brokers.redis
    small = Drain(server, scale.of(100_000), SMALL)
    large = Drain(server, scale.of(10_000), LARGE)
    yield [
        Case(
            "redis drain, 80 B table",
            small.ours,
            small.floor,
            goals={"": at_least(0.5)},
            peers=peers_on("redis", server.url, scale),
            ahead={"dramatiq": 8, "bullmq": 1},
        ),
        Case("redis drain, 2 KB table", large.ours, large.floor),
    ]


class Drain:
    """A drain of so many messages, each run from a copy of the same filled queue."""

    def __init__(self, server: RedisServer, count: int, items: int) -> None:
        self._server = server
        self._count = count
        self._items = items
        self._filled = ""

    def ours(self) -> dict[str, float]:
        """Drains by a host."""
        name = self._copy()
        with host_of(
            driver("redis", url=self._server.url),
            queue(queue_name=name),
            consumer(prefetch=BATCH),
            function("handler", HANDLER),
        ) as host:
            begin = time.perf_counter()
            host.start_service("bench:work_consumer")
            wait_until_empty(host)
            return {"": self._count / (time.perf_counter() - begin)}

    def floor(self) -> dict[str, float]:
        """Drains by redis-py."""
        key, handle = _key(self._copy()), floor.make_handler()
        settled, left = list[bytes](), self._count
        with self._server.client() as client:
            begin = time.perf_counter()
            while left or settled:
                with client.pipeline(transaction=False) as pipe:
                    if settled:
                        pipe.xack(key, "wippy", *settled)
                        pipe.xdel(key, *settled)
                    pipe.xreadgroup("wippy", "floor", {key: ">"}, count=BATCH)
                    read = pipe.execute()[-1]
                settled = []
                for _, entries in read:
                    for entry, fields in entries:
                        handle(fields[b"body"])
                        settled.append(entry)
                left -= len(settled)
            return {"": self._count / (time.perf_counter() - begin)}

    def _copy(self) -> str:
        """Returns the name of a filled queue for one run; the last one is forgotten."""
        self._filled = self._filled or self._fill()
        name = f"run{uuid4().hex}"
        with self._server.client() as client:
            for key in client.keys("wippy:{run*"):
                client.delete(key)
            for key in client.keys(f"{_key(self._filled)}*"):
                client.copy(key, key.decode().replace(self._filled, name))
        return name

    def _fill(self) -> str:
        name = f"filled{uuid4().hex}"
        with host_of(
            driver("redis", url=self._server.url),
            queue(queue_name=name),
            function("publisher", PUBLISHER, "queue"),
        ) as host:
            publish_all(host, self._count, publishers=4, size=100, items=self._items)
        return name


def _key(name: str) -> str:
    return f"wippy:{{{name}}}"
