"""Messages that nobody can handle: each is given up after its attempts, and the others are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.failures.figures import Figures
from tests.failures.places import STOP_SECONDS, Broker, Folder
from tests.host.apps import Gate, make_host, wait_for, write_app
from wippy_lua.watchdog import EXIT_STATUS

MAX_ATTEMPTS = 3

WATCHED = "- {name: config, kind: host.config, stall_limit: 500ms}\n"

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
    work[body.poison]()
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


def entries_for(broker: Broker, max_attempts: int = MAX_ATTEMPTS) -> str:
    return broker.entry() + QUEUES.format(name=f"poison-{uuid4().hex}", max_attempts=max_attempts)


def dead(gate: Gate) -> dict[str, dict[str, Any]]:
    """Returns the headers of each dead letter."""
    return {note["id"]: note["headers"] for note in gate.seen}


def handled(folder: Folder) -> set[str]:
    return {line.split()[0] for line in folder.lines("handled")}


@pytest.mark.failures
@pytest.mark.parametrize("prefetch", [0, 4], ids=["alone", "buffered"])
def test_a_message_that_kills_its_host_is_dead_lettered_after_its_attempts(
    broker: Broker, folder: Folder, own: Path, figures: Figures, prefetch: int
) -> None:
    entries, gate = entries_for(broker), Gate()
    mine = entries + CONSUMER.format(queue="dead", prefetch=10, module="gate")
    theirs = entries + CONSUMER.format(queue="work", prefetch=prefetch, module="work")
    write_app(folder.path, theirs, handler=HANDLER)
    with make_host(own, mine, {"gate": gate.functions()}, handler=UNDERTAKER) as host:
        poison = host.publish("app:work", {"poison": "die"})
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
    remarks = f"prefetch {prefetch}, {len(dead(gate))} dead-lettered"
    lost = len({poison, *others} - handled(folder) - dead(gate).keys())
    figures.kept("poison kills", broker.name, 11, MAX_ATTEMPTS, lost=lost, remarks=remarks)


@pytest.mark.failures
@pytest.mark.network
def test_a_message_that_stalls_its_host_in_a_c_function_is_dead_lettered_after_its_attempts(
    sqlite_broker: Broker, folder: Folder, own: Path, figures: Figures
) -> None:
    """On one driver: an end by the watchdog is to all of them what a kill is."""
    attempts = 2
    entries, gate = entries_for(sqlite_broker, attempts), Gate()
    mine = entries + CONSUMER.format(queue="dead", prefetch=10, module="gate")
    theirs = WATCHED + entries + CONSUMER.format(queue="work", prefetch=0, module="work")
    write_app(folder.path, theirs, handler=HANDLER)
    with make_host(own, mine, {"gate": gate.functions()}, handler=UNDERTAKER) as host:
        poison = host.publish("app:work", {"poison": "stall"})
        for _ in range(attempts):
            with folder.host() as process:
                assert process.wait(STOP_SECONDS) == EXIT_STATUS
        with folder.host():
            wait_for(lambda: dead(gate), STOP_SECONDS)
    assert folder.notes() == [{"attempt": n + 1} for n in range(attempts)]
    assert dead(gate)[poison]["x_dead_letter_reason"] == "max_attempts"
    remarks = f"{len(dead(gate))} dead-lettered"
    figures.kept("poison stalls", sqlite_broker.name, 1, attempts, remarks=remarks)
