"""A message that ends every host that handles it: it is given up, and the others are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.failures.places import STOP_SECONDS, Broker, Folder
from tests.host.apps import Gate, make_host, wait_for, write_app

MAX_ATTEMPTS = 3

QUEUES = """\
- {{name: work, kind: queue.queue, driver: broker, queue_name: {name},
   dead_letter: {{queue: dead, max_attempts: {max_attempts}}}}}
- {{name: dead, kind: queue.queue, driver: broker, queue_name: {name}.dead}}
"""
CONSUMER = """\
- name: consumer
  kind: queue.consumer
  queue: {queue}
  func: handler
  prefetch: {prefetch}
  lifecycle: {{auto_start: true}}
- {{name: handler, kind: function.lua, source: file://handler.lua, modules: [queue, {module}]}}
"""
HANDLER = """\
local queue, work = require("queue"), require("work")

return function(body)
  if body.poison then
    work.note({attempt = queue.message():attempt()})
    work.die()
  end
  work.handle(queue.message():id(), queue.message():attempt())
end
"""
UNDERTAKER = """\
local queue, gate = require("queue"), require("gate")

return function()
  local message = queue.message()
  gate.note({id = message:id(), headers = message:headers()})
end
"""


def entries_for(broker: Broker) -> str:
    return broker.entry() + QUEUES.format(name=f"poison-{uuid4().hex}", max_attempts=MAX_ATTEMPTS)


def dead(gate: Gate) -> dict[str, dict[str, Any]]:
    """Returns the headers of each dead letter."""
    return {note["id"]: note["headers"] for note in gate.seen}


def handled(folder: Folder) -> set[str]:
    return {line.split()[0] for line in folder.lines("handled")}


@pytest.mark.failures
@pytest.mark.parametrize("prefetch", [0, 4], ids=["alone", "buffered"])
def test_a_message_that_kills_its_host_is_dead_lettered_after_its_attempts(
    broker: Broker, folder: Folder, own: Path, prefetch: int
) -> None:
    entries, gate = entries_for(broker), Gate()
    mine = entries + CONSUMER.format(queue="dead", prefetch=10, module="gate")
    theirs = entries + CONSUMER.format(queue="work", prefetch=prefetch, module="work")
    write_app(folder.path, theirs, handler=HANDLER)
    with make_host(own, mine, {"gate": gate.functions()}, handler=UNDERTAKER) as host:
        poison = host.publish("app:work", {"poison": True})
        others = {host.publish("app:work", {"n": n}) for n in range(10)}
        for _ in range(MAX_ATTEMPTS):
            with folder.host() as process:
                assert process.wait(STOP_SECONDS) == -9
        with folder.host():
            wait_for(lambda: handled(folder) | dead(gate).keys() == {poison, *others}, STOP_SECONDS)
    assert folder.notes() == [{"attempt": n + 1} for n in range(MAX_ATTEMPTS)]
    headers = dead(gate)[poison]
    assert headers["x_dead_letter_reason"] == "max_attempts"
    assert "3 attempts ended without an outcome" in headers["x_error"]
    # What a host has buffered when it dies is charged too, and may be given up; but never lost.
    assert len(dead(gate)) <= 1 + prefetch
