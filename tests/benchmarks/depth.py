"""What one message costs while few or many wait: published and handled at the head of a full queue.

Both are rates of this host; the "floor" is the one with a thousand waiting.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from uuid import uuid4

from tests.benchmarks.app import (
    PUBLISHER,
    Counter,
    Entry,
    consumer,
    driver,
    function,
    host_of,
    publish_all,
    queue,
)
from tests.benchmarks.brokers import Brokers
from tests.benchmarks.cases import Case, Scale, at_least

FEW, MANY = 1000, 1_000_000
COUNT = 5000
HANDLER = 'local done = require("done") return function(body) done.done(1) end'


@contextmanager
def cases(scale: Scale, brokers: Brokers) -> Iterator[list[Case]]:
    """Gives a case for each driver that keeps its own order."""
    few, many, count = scale.of(FEW, least=50), scale.of(MANY), scale.of(COUNT)
    drivers: dict[str, Callable[[], Entry]] = {
        "memory": partial(driver, "memory"),
        "redis": lambda: driver("redis", url=brokers.redis.url),
        "sqlite": partial(driver, "sqlite", file="queue.db"),
    }
    yield [
        Case(
            f"{name}, {many:,} waiting, against {few:,}",
            partial(_run, make, many, count),
            partial(_run, make, few, count),
            goals={"": at_least(0.87)},
        )
        for name, make in drivers.items()
    ]


def _run(make: Callable[[], Entry], waiting: int, count: int) -> dict[str, float]:
    counter = Counter(count)
    with host_of(
        make(),
        queue(queue_name=f"bench{uuid4().hex}", options={"max_length": waiting + 2 * count}),
        consumer(prefetch=100),
        function("handler", HANDLER, "done"),
        function("publisher", PUBLISHER, "queue"),
        modules={"done": {"done": counter.done}},
    ) as host:
        publish_all(host, waiting, publishers=4, size=500)
        begin = time.perf_counter()
        host.start_service("bench:work_consumer")
        publish_all(host, count, publishers=4, size=10)
        counter.reached.wait()
        return {"": counter.count / (time.perf_counter() - begin)}
