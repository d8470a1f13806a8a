"""RabbitMQ: a filled quorum queue is drained, every message acked; and publishing is confirmed.

The floor is the fastest client's tightest loop, pika's callbacks on gevent: one ack for every
hundred messages, each decoded and given to a bare Lua handler; and a window of as many unconfirmed
publishes as there are handlers that publish. All have the same messages on a broker of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import gevent
import msgspec
import pika
from gevent.event import Event
from pika.adapters.gevent_connection import GeventConnection

from tests.benchmarks import floor
from tests.benchmarks.app import (
    CONCURRENCY,
    LARGE,
    PUBLISHER,
    SMALL,
    Counter,
    body_of,
    consumer,
    driver,
    function,
    host_of,
    publish_all,
    queue,
)
from tests.benchmarks.brokers import Brokers
from tests.benchmarks.cases import Case, Scale, at_least
from tests.benchmarks.peer import peers_on
from tests.drivers.rabbitmq import RabbitMQ

PREFETCH = 1000
ACK_EVERY = 100
PUBLISHERS = 100
TELLING = """
local done = require("done")
return function(body)
  if body.id % 100 == 0 then done.done(100) end
  return body.id
end
"""
QUORUM = {"x-queue-type": "quorum", "x-delivery-limit": 2**31 - 1}  # as the host declares it
PERSISTENT = pika.BasicProperties(content_type="application/json", delivery_mode=2)


@contextmanager
def cases(scale: Scale, brokers: Brokers) -> Iterator[list[Case]]:
    """Gives the cases."""
    server = brokers.rabbitmq
    small = Traffic(server, scale.of(20_000, least=200), SMALL)
    large = Traffic(server, scale.of(4000, least=200), LARGE)
    peers = peers_on("amqp", server.url, scale)
    yield [
        Case(
            "rabbitmq quorum drain, 80 B table",
            small.drain,
            small.drain_floor,
            goals={"": at_least(0.7)},
            peers=peers,
            ahead=dict.fromkeys(peers, 1),
        ),
        Case("rabbitmq quorum drain, 2 KB table", large.drain, large.drain_floor),
        Case(
            "rabbitmq confirmed publish, 100 handlers",
            small.publish,
            small.publish_floor,
            goals={"": at_least(0.7)},
        ),
    ]


@dataclass(frozen=True, slots=True)
class Traffic:
    """So many messages of a size, on a new quorum queue for each run."""

    server: RabbitMQ
    count: int
    items: int

    def drain(self) -> dict[str, float]:
        """Drains by a host, until the broker has every ack."""
        name, counter = self._fill(), Counter(self.count // ACK_EVERY * ACK_EVERY)
        with host_of(
            driver("amqp", url=self.server.url),
            queue(queue_name=name),
            consumer(prefetch=PREFETCH),
            function("handler", TELLING, "done"),
            modules={"done": {"done": counter.done}},
        ) as host:
            begin = time.perf_counter()
            host.start_service("bench:work_consumer")
            counter.reached.wait()
            return {"": counter.count / (time.perf_counter() - begin)}

    def drain_floor(self) -> dict[str, float]:
        """Drains by pika."""
        name, handle, drained = self._fill(), floor.make_handler(), Event()
        left = self.count

        def on_message(channel: Any, method: Any, _properties: object, body: bytes) -> None:
            nonlocal left
            handle(body)
            left -= 1
            if left % ACK_EVERY == 0:
                channel.basic_ack(method.delivery_tag, multiple=True)
            if not left:
                drained.set()

        def on_channel(channel: Any) -> None:
            channel.basic_qos(prefetch_count=PREFETCH + CONCURRENCY)
            channel.basic_consume(name, on_message)

        begin = time.perf_counter()
        with _connected(self.server.url, on_channel):
            drained.wait()
            return {"": self.count / (time.perf_counter() - begin)}

    def publish(self) -> dict[str, float]:
        """Publishes by as many handlers, each of which waits for its confirm."""
        with host_of(
            driver("amqp", url=self.server.url),
            queue(queue_name=f"bench{uuid4().hex}"),
            function("publisher", PUBLISHER, "queue"),
        ) as host:
            publish_all(host, PUBLISHERS, PUBLISHERS, size=1)  # the VMs are made
            begin = time.perf_counter()
            publish_all(host, self.count, PUBLISHERS, size=1, items=self.items)
            return {"": self.count / (time.perf_counter() - begin)}

    def publish_floor(self) -> dict[str, float]:
        """Publishes by pika with as many publishes on their way, encoded in Lua."""
        name = self._declare()
        window = _Window(name, self.count, self.items)
        begin = time.perf_counter()
        with _connected(self.server.url, window.on_channel):
            window.confirmed.wait()
            return {"": self.count / (time.perf_counter() - begin)}

    def _declare(self) -> str:
        name = f"bench{uuid4().hex}"
        with pika.BlockingConnection(pika.URLParameters(self.server.url)) as connection:
            channel = connection.channel()
            channel.queue_declare(name, durable=True, arguments=QUORUM)
        return name

    def _fill(self) -> str:
        """Puts the messages on a new queue and returns its name."""
        name = self._declare()
        with pika.BlockingConnection(pika.URLParameters(self.server.url)) as connection:
            channel = connection.channel()
            for number in range(1, self.count + 1):
                body = msgspec.json.encode(body_of(number, self.items))
                channel.basic_publish("", name, body, PERSISTENT)
            while channel.queue_declare(name, passive=True).method.message_count < self.count:
                time.sleep(0.01)
        return name


class _Window:
    """Keeps so many publishes on their way until all are confirmed."""

    def __init__(self, name: str, count: int, items: int) -> None:
        self.confirmed = Event()
        self._name = name
        self._count = count
        self._items = items
        self._sent = 0
        self._done = 0
        self._channel: Any = None
        self._publish = floor.make_publisher(self._put)

    def on_channel(self, channel: Any) -> None:
        """Begins with a full window."""
        self._channel = channel
        channel.confirm_delivery(self._on_confirm)
        self._refill()

    def _put(self, body: str) -> None:
        self._channel.basic_publish("", self._name, body.encode(), PERSISTENT)

    def _refill(self) -> None:
        last = min(self._done + PUBLISHERS, self._count)
        self._publish(self._sent + 1, last, self._items)
        self._sent = last

    def _on_confirm(self, frame: Any) -> None:
        tag = frame.method.delivery_tag
        self._done = tag if frame.method.multiple else self._done + 1
        if self._done == self._count:
            self.confirmed.set()
        else:
            self._refill()


@contextmanager
def _connected(url: str, on_channel: Callable[[Any], None]) -> Iterator[None]:
    connection: Any = GeventConnection(
        pika.URLParameters(url),
        on_open_callback=lambda opened: opened.channel(on_open_callback=on_channel),
    )
    try:
        yield
    finally:
        connection.close()
        while not connection.is_closed:
            gevent.sleep(0.01)
