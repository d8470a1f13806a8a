"""RabbitMQ: a filled queue is drained, every message acked; only the draining is timed.

The floor is the fastest client's tightest loop, pika's callbacks on gevent with one ack for every
hundred messages and nothing done with them. Ours decodes each message into a Lua handler. Both are
given the same messages of a classic queue on a broker of their own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import gevent
import pika
from gevent.event import Event
from pika.adapters.gevent_connection import GeventConnection

from tests.benchmarks.cases import LARGE, SMALL, Case
from tests.benchmarks.workload import Workload
from tests.drivers.rabbitmq import RabbitMQ
from wippy_lua import Host
from wippy_lua.log import NullLog

PREFETCH = 200
ACK_EVERY = 100
INDEX = """\
version: "1.0"
namespace: bench
entries:
  - {{name: rabbitmq, kind: queue.driver.amqp, url: "{url}", queue_type: classic}}
  - name: work
    kind: queue.queue
    driver: rabbitmq
    queue_name: {queue}
    options: {{max_priority: 0}}
  - name: consumer
    kind: queue.consumer
    queue: work
    func: handler
    concurrency: {concurrency}
    prefetch: {prefetch}
  - name: handler
    kind: function.lua
    source: |
      local done = require("done")
      local count = 0
      return function(body)
        count = count + 1
        if count % 100 == 0 then done.add(100) end
        return body.id
      end
    modules: [done]
    limits: {{preempt: true}}
"""


@contextmanager
def broker() -> Iterator[RabbitMQ]:
    """Runs a RabbitMQ for the benchmark."""
    with TemporaryDirectory() as folder:
        server = RabbitMQ(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.end()


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Gives the cases, with a broker for them."""
    with broker() as server:
        drain, drain_ours = partial(floor, server=server), partial(ours, server=server)
        yield [
            Case("amqp, 80 B table", drain, drain_ours, SMALL, 0.4),
            Case("amqp, 2 KB table", drain, drain_ours, LARGE, 0.1),
        ]


def floor(work: Workload, server: RabbitMQ) -> float:
    """Drains by pika; returns seconds."""
    queue = _fill(work, server)
    drained = Event()
    left = work.count

    def on_message(channel: Any, method: Any, _properties: object, _body: bytes) -> None:
        nonlocal left
        left -= 1
        if left % ACK_EVERY == 0:
            channel.basic_ack(method.delivery_tag, multiple=True)
        if not left:
            drained.set()

    def on_channel(channel: Any) -> None:
        channel.basic_qos(prefetch_count=PREFETCH + work.concurrency)
        channel.basic_consume(queue, on_message)

    begin = time.perf_counter()
    connection: Any = GeventConnection(
        pika.URLParameters(server.url),
        on_open_callback=lambda opened: opened.channel(on_open_callback=on_channel),
    )
    drained.wait()
    seconds = time.perf_counter() - begin
    connection.close()
    while not connection.is_closed:
        gevent.sleep(0.01)
    return seconds


def ours(work: Workload, server: RabbitMQ) -> float:
    """Drains by a host; returns seconds."""
    queue = _fill(work, server)
    with TemporaryDirectory() as folder:
        Path(folder, "_index.yaml").write_text(
            INDEX.format(
                url=server.url, queue=queue, concurrency=work.concurrency, prefetch=PREFETCH
            )
        )
        handled = _Handled(work.count - 100 * work.concurrency)
        with Host(folder, log=NullLog(), modules={"done": {"add": handled.add}}) as host:
            begin = time.perf_counter()
            host.start_service("bench:consumer")
            handled.enough.wait()
            seconds = time.perf_counter() - begin
            # The handlers' last hundreds are not told, so the time is that of fewer messages.
            return seconds * work.count / handled.count


class _Handled:
    """Counts what handlers report."""

    def __init__(self, wanted: int) -> None:
        self.count = 0
        self.enough = Event()
        self._wanted = wanted

    def add(self, count: int) -> None:
        self.count += count
        if self.count >= self._wanted:
            self.enough.set()


def _fill(work: Workload, server: RabbitMQ) -> str:
    """Puts the messages on a new classic queue and returns its name."""
    queue = f"bench{uuid4().hex}"
    padding = "x" * work.padding
    properties = pika.BasicProperties(content_type="application/json", delivery_mode=2)
    with pika.BlockingConnection(pika.URLParameters(server.url)) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True)
        for index in range(work.count):
            body = f'{{"id":{index},"action":"process","user":"a@example.org","data":"{padding}"}}'
            channel.basic_publish("", queue, body.encode(), properties)
        while channel.queue_declare(queue, passive=True).method.message_count < work.count:
            time.sleep(0.01)
    return queue
