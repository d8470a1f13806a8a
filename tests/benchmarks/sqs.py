"""SQS: a filled queue is drained, every message deleted; only the draining is timed.

The floor is boto3's tightest loop: it receives ten messages while the last ten are deleted, and
does nothing with them. Ours decodes each into a Lua handler. Both drain the same messages from
moto's service on loopback, which takes most of the time: it says what the host costs beside calls
of some milliseconds, which is what SQS takes, too.
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

import boto3
import gevent
from gevent.event import Event

from tests.benchmarks.cases import LARGE, SMALL, Case
from tests.benchmarks.workload import Workload
from tests.drivers.sqs.server import Server, running
from wippy_lua import Host
from wippy_lua.log import NullLog

BATCH = 10
KEYS = {"access_key_id": "bench", "secret_access_key": "bench"}
INDEX = """\
version: "1.0"
namespace: bench
entries:
  - {{name: aws, kind: config.aws, region: eu-central-1, {keys}}}
  - {{name: sqs, kind: queue.driver.sqs, config: aws, endpoint: "{endpoint}", wait_time: 0}}
  - {{name: work, kind: queue.queue, driver: sqs, queue_name: {queue}}}
  - name: consumer
    kind: queue.consumer
    queue: work
    func: handler
    concurrency: {concurrency}
    prefetch: 100
  - name: handler
    kind: function.lua
    source: |
      local done = require("done")
      return function(body) done.add(body.id) end
    modules: [done]
"""


@contextmanager
def broker() -> Iterator[Server]:
    """Runs a queue service for the benchmark."""
    with running() as server:
        yield server


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Gives the cases, with a queue service for them."""
    with broker() as server:
        drain, drain_ours = partial(floor, server=server), partial(ours, server=server)
        yield [
            Case("sqs, 80 B table", drain, drain_ours, SMALL, 0.02),
            Case("sqs, 2 KB table", drain, drain_ours, LARGE, 0.02),
        ]


def floor(work: Workload, server: Server) -> float:
    """Drains by boto3; returns seconds."""
    client = _client(server)
    url = _fill(work, client)
    left = work.count
    deleting: list[gevent.Greenlet[..., Any]] = []
    begin = time.perf_counter()
    while left:
        messages = client.receive_message(QueueUrl=url, MaxNumberOfMessages=BATCH)["Messages"]
        entries = [
            {"Id": str(index), "ReceiptHandle": message["ReceiptHandle"]}
            for index, message in enumerate(messages)
        ]
        left -= len(entries)
        gevent.joinall(deleting, raise_error=True)
        delete = partial(client.delete_message_batch, QueueUrl=url, Entries=entries)
        deleting = [gevent.spawn(delete)]
    gevent.joinall(deleting, raise_error=True)
    seconds = time.perf_counter() - begin
    client.close()
    return seconds


def ours(work: Workload, server: Server) -> float:
    """Drains by a host; returns seconds."""
    client = _client(server)
    queue = _fill(work, client).rpartition("/")[2]
    client.close()
    with TemporaryDirectory() as folder:
        keys = ", ".join(f"{name}: {value}" for name, value in KEYS.items())
        index = INDEX.format(
            keys=keys, endpoint=server.endpoint, queue=queue, concurrency=work.concurrency
        )
        Path(folder, "_index.yaml").write_text(index)
        handled = _Handled(work.count)
        with Host(folder, log=NullLog(), modules={"done": {"add": handled.add}}) as host:
            begin = time.perf_counter()
            host.start_service("bench:consumer")
            handled.all.wait()
            while host.info("bench:work").message_count:
                gevent.sleep(0.01)
            return time.perf_counter() - begin


class _Handled:
    """Is told of each message: asking SQS what is left would be a call that the floor has not."""

    def __init__(self, wanted: int) -> None:
        self.all = Event()
        self._left = wanted

    def add(self, _number: int) -> None:
        self._left -= 1
        if not self._left:
            self.all.set()


def _client(server: Server) -> Any:
    return boto3.client(
        "sqs",
        endpoint_url=server.endpoint,
        region_name="eu-central-1",
        aws_access_key_id=KEYS["access_key_id"],
        aws_secret_access_key=KEYS["secret_access_key"],
    )


def _fill(work: Workload, client: Any) -> str:
    """Puts the messages on a new queue and returns its URL."""
    url: str = client.create_queue(QueueName=f"bench{uuid4().hex}")["QueueUrl"]
    padding = "x" * work.padding
    content = {"content_type": {"DataType": "String", "StringValue": "application/json"}}
    for start in range(0, work.count, BATCH):
        entries = [
            {
                "Id": str(number),
                "MessageBody": f'{{"id":{number},"action":"process","data":"{padding}"}}',
                "MessageAttributes": content,
            }
            for number in range(start, min(start + BATCH, work.count))
        ]
        client.send_message_batch(QueueUrl=url, Entries=entries)
    return url
