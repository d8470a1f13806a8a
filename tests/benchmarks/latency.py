"""How long a message takes from the call of publish to the start of its handler, at 1,000 a second.

Twenty publishers in Python send at fixed times, whatever became of the last message: a stall
counts for each message that it held up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from statistics import quantiles
from uuid import uuid4

import gevent

from tests.benchmarks.app import AUTO, Counter, Entry, consumer, driver, function, host_of, queue
from tests.benchmarks.brokers import Brokers
from tests.benchmarks.cases import Case, Scale, at_most
from wippy_lua import Host

RATE, PUBLISHERS = 1000, 20
SECONDS = 3.0
PERCENTILES = (50, 90, 99)
HANDLER = 'local clock = require("clock") return function(body) clock.seen(body.sent) end'


@contextmanager
def cases(scale: Scale, brokers: Brokers) -> Iterator[list[Case]]:
    """Gives a case for each driver."""
    count = scale.of(int(RATE * SECONDS), least=100)
    yield [
        _case("memory", count, 1, 5, lambda: driver("memory")),
        _case("sqlite", count, 5, 25, lambda: driver("sqlite", file="queue.db")),
        _case("redis", count, 3, 15, lambda: driver("redis", url=brokers.redis.url)),
        _case("rabbitmq", count, 3, 15, lambda: driver("amqp", url=brokers.rabbitmq.url)),
    ]


def _case(name: str, count: int, p50: float, p99: float, make: Callable[[], Entry]) -> Case:
    return Case(
        f"publish to handler, {name}",
        partial(_run, count, make),
        unit="ms",
        goals={"p50": at_most(p50), "p99": at_most(p99)},
    )


def _run(count: int, make: Callable[[], Entry]) -> dict[str, float]:
    counter = Counter(count)
    took: list[float] = []

    def seen(sent: float) -> None:
        took.append(time.perf_counter() - sent)
        counter.done()

    with host_of(
        make(),
        queue(queue_name=f"bench{uuid4().hex}"),
        consumer(prefetch=10, **AUTO),
        function("handler", HANDLER, "clock"),
        modules={"clock": {"seen": seen}},
    ) as host:
        host.publish("bench:work", {"sent": time.perf_counter()})  # the VM is made
        gevent.sleep(0.2)
        took.clear()
        begin = time.perf_counter() + 0.1
        publishers = [
            gevent.spawn(_publish, host, begin, range(first, count + 1, PUBLISHERS))
            for first in range(1, PUBLISHERS + 1)
        ]
        gevent.joinall(publishers, raise_error=True)
        counter.reached.wait()
    cuts = quantiles(took, n=100)
    return {f"p{percent}": cuts[percent - 1] * 1000 for percent in PERCENTILES}


def _publish(host: Host, begin: float, numbers: range) -> None:
    for number in numbers:
        due = begin + number / RATE
        gevent.sleep(max(due - time.perf_counter(), 0))
        host.publish("bench:work", {"sent": due})
