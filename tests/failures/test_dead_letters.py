"""What nobody can handle, inside a host that lives: exactly its attempts, and one dead letter."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import gevent
import pytest

from tests.failures.disks import no_file_grows
from tests.failures.figures import Figures
from tests.failures.places import Broker
from tests.host.apps import Gate, make_host, wait_for

pytestmark = pytest.mark.failures

PATIENCE = 10.0
MAX_ATTEMPTS = 5
LARGE = 200_000
OUTAGE_SECONDS = 0.5

QUEUES = """\
- {{name: work, kind: queue.queue, driver: broker, queue_name: {name},
   dead_letter: {{queue: dead, max_attempts: {attempts}}}}}
- {{name: dead, kind: queue.queue, driver: {graves}, queue_name: {name}.dead}}
"""
CONSUMERS = """\
- name: consumer
  kind: queue.consumer
  queue: work
  func: handler
  retry: {initial_delay: 1ms, max_delay: 100ms}
  lifecycle: {auto_start: true}
- {name: handler, kind: function.lua, source: file://handler.lua, modules: [queue, runs]}
- {name: undertaker, kind: queue.consumer, queue: dead, func: bury, lifecycle: {auto_start: true}}
- {name: bury, kind: function.lua, source: file://bury.lua, modules: [queue, graves]}
"""
HANDLER = """\
local queue, runs = require("queue"), require("runs")

local function charge(body)
  error("card " .. body.card .. " refused")
end

return function(body)
  runs.note(queue.message():attempt())
  if body.waits then
    runs.wait()
  end
  charge(body)
end
"""
BURY = """\
local queue, graves = require("queue"), require("graves")

return function(body)
  local message = queue.message()
  graves.note({id = message:id(), headers = message:headers(), is_table = type(body) == "table"})
end
"""


def entries_for(broker: Broker, graves: str = "broker", attempts: int = MAX_ATTEMPTS) -> str:
    name = f"dead-{uuid4().hex}"
    queues = QUEUES.format(name=name, graves=graves, attempts=attempts)
    return broker.entry() + queues + CONSUMERS


def modules(runs: Gate, graves: Gate) -> dict[str, Any]:
    return {"runs": runs.functions(), "graves": graves.functions()}


def test_what_always_fails_runs_its_attempts_and_leaves_one_dead_letter_with_its_cause(
    any_broker: Broker, own: Path, figures: Figures
) -> None:
    runs, graves = Gate(), Gate()
    scripts = {"handler": HANDLER, "bury": BURY}
    with make_host(own, entries_for(any_broker), modules(runs, graves), **scripts) as host:
        message = host.publish("app:work", {"card": 7}, {"tenant": "t", "ratio": 0.5})
        wait_for(lambda: graves.seen, PATIENCE)
        wait_for(lambda: host.info("app:work").message_count == 0, PATIENCE)
        wait_for(lambda: host.info("app:dead").message_count == 0, PATIENCE)
    assert runs.seen == [1, 2, 3, 4, 5]
    (letter,) = graves.seen
    headers = letter["headers"]
    assert (letter["id"], headers["tenant"], headers["ratio"]) == (message, "t", 0.5)
    assert headers["x_original_queue"] == "app:work"
    assert headers["x_dead_letter_reason"] == "max_attempts"
    assert headers["x_attempts"] == MAX_ATTEMPTS
    assert "card 7 refused" in headers["x_error"]
    assert "handler.lua:4" in headers["x_error_stack"]
    assert "x_dead_letter_time" in headers
    figures.kept("always fails", any_broker.name, 1, len(runs.seen), remarks="1 dead-lettered")


def test_a_body_that_is_not_the_json_it_claims_to_be_is_dead_lettered_unread(
    any_broker: Broker, own: Path, figures: Figures
) -> None:
    runs, graves = Gate(), Gate()
    scripts = {"handler": HANDLER, "bury": BURY}
    # The undertaker could not read it either: it is looked at on the queue.
    entries = entries_for(any_broker).replace(
        "func: bury, lifecycle: {auto_start: true}", "func: bury"
    )
    with make_host(own, entries, modules(runs, graves), **scripts) as host:
        host.publish(
            "app:work", b'{"card": 7', {"content_type": "application/json"}, message_id="m"
        )
        host.publish("app:work", b"\xff\x00", {"content_type": "application/json"}, message_id="n")
        wait_for(lambda: host.info("app:dead").ready == 2, PATIENCE)
        wait_for(lambda: host.info("app:work").message_count == 0, PATIENCE)
        letters = host._app.manager.driver("app:dead").take("app:dead", 2)
        found = {letter.message.id: letter.message for letter in letters}
        for letter in letters:
            letter.ack()
    assert runs.seen == []
    assert (found["m"].body, found["n"].body) == (b'{"card": 7', b"\xff\x00")
    for message in found.values():
        assert message.headers["x_dead_letter_reason"] == "not_retryable"
        assert "does not decode" in str(message.headers["x_error"])
    remarks = f"{len(found)} dead-lettered"
    figures.kept("not JSON", any_broker.name, 2, 2, lost=2 - len(found), remarks=remarks)


def test_a_dead_letter_that_finds_no_room_on_its_disk_is_kept_and_stored_later(
    any_broker: Broker, own: Path, figures: Figures
) -> None:
    runs, graves = Gate(), Gate()
    file = own / "graves.db"
    tombs = f"- {{name: tombs, kind: queue.driver.sqlite, file: {file}}}\n"
    entries = tombs + entries_for(any_broker, "tombs", attempts=1)
    scripts = {"handler": HANDLER, "bury": BURY}
    with make_host(own, entries, modules(runs, graves), **scripts) as host:
        message = host.publish("app:work", {"card": "x" * LARGE, "waits": True})
        wait_for(lambda: runs.waiting == 1, PATIENCE)
        with no_file_grows(file):
            runs.let_go(1)
            gevent.sleep(OUTAGE_SECONDS)
            assert graves.seen == []
        wait_for(lambda: graves.seen, PATIENCE)
        wait_for(lambda: host.info("app:work").message_count == 0, PATIENCE)
    assert [letter["id"] for letter in graves.seen] == [message]
    assert runs.seen == [1]
    figures.kept("no room for a dead letter", any_broker.name, 1, 1, remarks="1 dead-lettered")
