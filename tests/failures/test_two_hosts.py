"""One process publishes, another consumes; and other programs publish too."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pika
import pytest
import redis

from tests.examples.running import run_command
from tests.failures.places import Broker, Folder
from tests.host.apps import wait_for, write_app

QUEUE = "- {{name: work, kind: queue.queue, driver: broker, queue_name: {name}}}\n"
CONSUMER = """\
- name: consumer
  kind: queue.consumer
  queue: work
  func: handler
  lifecycle: {auto_start: true}
- {name: handler, kind: function.lua, source: file://handler.lua, modules: [queue, work]}
"""
HANDLER = """\
local queue, work = require("queue"), require("work")

return function(body)
  local message = queue.message()
  work.note({body = body, headers = message:headers(), attempt = message:attempt()})
end
"""
PUBLISHER = """\
local queue = require("queue")

for n = 1, 3 do
  local headers = {tenant = "t", ratio = 0.5, last = n == 3}
  assert(queue.publish("app:work", {n = n, text = "größe"}, headers))
end
"""
BODY = b'{"n": 1, "tags": ["a", "b"]}'
START_SECONDS = 15.0


def test_what_one_host_publishes_another_handles_unchanged(
    broker: Broker, folder: Folder, own: Path
) -> None:
    entries = broker.entry() + QUEUE.format(name=f"two-{uuid4().hex}")
    write_app(folder.path, entries + CONSUMER, handler=HANDLER)
    write_app(own, entries, main=PUBLISHER)
    published = run_command("run", str(own))
    assert published.returncode == 0, published.stderr
    with folder.host():
        wait_for(lambda: len(folder.notes()) == 3, START_SECONDS)
    notes = sorted(folder.notes(), key=lambda note: int(note["body"]["n"]))
    assert notes == [
        {
            "body": {"n": n, "text": "größe"},
            "headers": {"tenant": "t", "ratio": 0.5, "last": n == 3},
            "attempt": 1,
        }
        for n in (1, 2, 3)
    ]


@pytest.mark.network
def test_a_redis_client_adds_to_the_stream_of_a_queue(redis_broker: Broker, folder: Folder) -> None:
    name = f"foreign-{uuid4().hex}"
    entries = redis_broker.entry() + QUEUE.format(name=name)
    write_app(folder.path, entries + CONSUMER, handler=HANDLER)
    with folder.host(), redis.Redis.from_url(redis_broker.fields["url"]) as client:
        client.xadd(
            f"wippy:{{{name}}}",
            {"body": BODY, "content_type": "application/json", "colour": "red", "count": 3},
        )
        wait_for(lambda: folder.notes(), START_SECONDS)
    (note,) = folder.notes()
    assert (note["body"], note["attempt"]) == ({"n": 1, "tags": ["a", "b"]}, 1)
    assert note["headers"] == {"colour": "red", "count": "3"}  # Redis knows strings only.


@pytest.mark.network
def test_an_amqp_client_publishes_to_a_queue(amqp_broker: Broker, folder: Folder) -> None:
    name = f"foreign-{uuid4().hex}"
    entries = amqp_broker.entry() + QUEUE.format(name=name)
    write_app(folder.path, entries + CONSUMER, handler=HANDLER)
    properties = pika.BasicProperties(
        content_type="application/json",
        correlation_id="c-1",
        headers={"colour": "red", "count": 3, "ratio": Decimal("0.5"), "last": True},
    )
    parameters = pika.URLParameters(amqp_broker.fields["url"])
    with folder.host() as process, pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        wait_for(lambda: folder.is_ready(process), START_SECONDS)
        channel.basic_publish("", name, BODY, properties, mandatory=True)
        wait_for(lambda: folder.notes(), START_SECONDS)
    (note,) = folder.notes()
    assert (note["body"], note["attempt"]) == ({"n": 1, "tags": ["a", "b"]}, 1)
    expected = {"colour": "red", "count": 3, "ratio": 0.5, "last": True, "correlation_id": "c-1"}
    assert {key: note["headers"].get(key) for key in expected} == expected
