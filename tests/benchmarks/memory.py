"""The memory driver: published in Lua, handled in Lua, one process.

The floor: encode in Lua, a bounded gevent queue, fixed workers, decode by msgspec and `table_from`,
a bare Lua call. It has no sandbox, no limits, no settlement and no redelivery.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import gevent
from gevent.queue import Queue

from tests.benchmarks import floor
from tests.benchmarks.app import (
    AUTO,
    CONCURRENCY,
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
)
from tests.benchmarks.brokers import Brokers
from tests.benchmarks.cases import Case, Scale, at_least

MAX_LENGTH = 1000
TEXT = """
local queue = require("queue")
local text = ("0123456789abcdef"):rep(5)
return function(first, last)
  for _ = first, last do
    local ok, err = queue.publish("bench:work", text)
    if not ok then return nil, err end
  end
end
"""
TEXT_HANDLER = "return function(body) return #body end"


@contextmanager
def cases(scale: Scale, _brokers: Brokers) -> Iterator[list[Case]]:
    """Gives the cases; nothing has to be started."""
    small, large = scale.of(30_000), scale.of(3000)
    tables = partial(ours, small, SMALL)
    yield [
        Case(
            "memory, 80 B table",
            tables,
            partial(bare, small, SMALL),
            goals={"": at_least(0.45)},
        ),
        Case(
            "memory, 2 KB table",
            partial(ours, large, LARGE),
            partial(bare, large, LARGE),
            goals={"": at_least(0.6)},
        ),
        Case(
            "memory, 80 B table, against our own encoder",
            tables,
            partial(bare, small, SMALL, floor.OURS),
        ),
        Case(
            "memory, 80 B string, against tables",
            partial(ours, small, SMALL, TEXT, TEXT_HANDLER),
            tables,
            goals={"": at_least(1.5)},
        ),
    ]


def ours(
    count: int, items: int, publisher: str = PUBLISHER, handler: str = HANDLER
) -> dict[str, float]:
    """Publishes and handles all messages once by a host."""
    with host_of(
        driver("memory"),
        queue(options={"max_length": MAX_LENGTH}),
        consumer(**AUTO),
        function("handler", handler),
        function("publisher", publisher, "queue"),
    ) as host:
        begin = time.perf_counter()
        publish_all(host, count, publishers=1, size=1, items=items)
        while host.info("bench:work").message_count:
            gevent.sleep(0.001)  # by 0 it would be asked fifty times in each turn of the hub
        return {"": count / (time.perf_counter() - begin)}


def bare(count: int, items: int, encoder: str = floor.PLAIN) -> dict[str, float]:
    """Does the same without the host."""
    bodies: Queue[str | None] = Queue(maxsize=MAX_LENGTH)
    publish = floor.make_publisher(bodies.put, encoder)
    workers = [gevent.spawn(_work, bodies) for _ in range(CONCURRENCY)]
    gevent.sleep(0)  # the workers make their VMs
    begin = time.perf_counter()
    publish(1, count, items)
    for _ in workers:
        bodies.put(None)
    gevent.joinall(workers, raise_error=True)
    return {"": count / (time.perf_counter() - begin)}


def _work(bodies: Queue[str | None]) -> None:
    handle = floor.make_handler()
    while (body := bodies.get()) is not None:
        handle(body)  # type: ignore[arg-type]
