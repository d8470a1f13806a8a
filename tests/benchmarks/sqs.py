"""SQS: a filled queue is drained, every message deleted; only the draining is timed.

The floor is boto3's tightest loop: it receives ten messages while the last ten are deleted, decodes
each and calls a bare Lua handler. Both drain the same messages from moto's service on loopback,
which takes most of the time: it says what the host costs beside calls of some milliseconds, which
is what SQS takes, too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

import boto3
import gevent
import msgspec

from tests.benchmarks import floor
from tests.benchmarks.app import (
    LARGE,
    SMALL,
    Counter,
    body_of,
    consumer,
    driver,
    function,
    host_of,
    queue,
    wait_until_empty,
)
from tests.benchmarks.brokers import Brokers
from tests.benchmarks.cases import Case, Scale
from tests.drivers.sqs.server import Server, running

BATCH = 10
REGION = "eu-central-1"
KEYS = {"access_key_id": "bench", "secret_access_key": "bench"}
# Asking SQS what is left would be a call that the floor has not.
TELLING = 'local done = require("done") return function(body) done.done(1) return body.id end'


@contextmanager
def cases(scale: Scale, _brokers: Brokers) -> Iterator[list[Case]]:
    """Gives the cases, with a queue service for them."""
    with running() as server:
        small, large = (Drain(server, scale.of(200), items) for items in (SMALL, LARGE))
        yield [
            Case("sqs drain, 80 B table", small.ours, small.floor),
            Case("sqs drain, 2 KB table", large.ours, large.floor),
        ]


@dataclass(frozen=True, slots=True)
class Drain:
    """So many messages of a size, on a new queue for each run."""

    server: Server
    count: int
    items: int

    def ours(self) -> dict[str, float]:
        """Drains by a host."""
        name, counter = self._fill().rpartition("/")[2], Counter(self.count)
        fields = {"config": "aws", "endpoint": self.server.endpoint, "wait_time": 0}
        with host_of(
            {"name": "aws", "kind": "config.aws", "region": REGION, **KEYS},
            driver("sqs", **fields),
            queue(queue_name=name),
            consumer(prefetch=100),
            function("handler", TELLING, "done"),
            modules={"done": {"done": counter.done}},
        ) as host:
            begin = time.perf_counter()
            host.start_service("bench:work_consumer")
            counter.reached.wait()
            wait_until_empty(host)
            return {"": self.count / (time.perf_counter() - begin)}

    def floor(self) -> dict[str, float]:
        """Drains by boto3."""
        url, client, handle = self._fill(), self._client(), floor.make_handler()
        left = self.count
        deleting: list[gevent.Greenlet[..., Any]] = []
        begin = time.perf_counter()
        while left:
            messages = client.receive_message(QueueUrl=url, MaxNumberOfMessages=BATCH)["Messages"]
            for message in messages:
                handle(message["Body"])
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
        return {"": self.count / seconds}

    def _client(self) -> Any:
        return boto3.client(
            "sqs",
            endpoint_url=self.server.endpoint,
            region_name=REGION,
            aws_access_key_id=KEYS["access_key_id"],
            aws_secret_access_key=KEYS["secret_access_key"],
        )

    def _fill(self) -> str:
        """Puts the messages on a new queue and returns its URL."""
        client = self._client()
        url: str = client.create_queue(QueueName=f"bench{uuid4().hex}")["QueueUrl"]
        content = {"content_type": {"DataType": "String", "StringValue": "application/json"}}
        for start in range(1, self.count + 1, BATCH):
            entries = [
                {
                    "Id": str(number),
                    "MessageBody": msgspec.json.encode(body_of(number, self.items)).decode(),
                    "MessageAttributes": content,
                }
                for number in range(start, min(start + BATCH, self.count + 1))
            ]
            client.send_message_batch(QueueUrl=url, Entries=entries)
        client.close()
        return url
