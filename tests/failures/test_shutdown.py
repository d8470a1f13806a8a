"""The command's process, stopped under load: nothing is lost, done twice or kept back."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path
from uuid import uuid4

import gevent
import pytest

from tests.cli.command import Running
from tests.failures.crash import IS_LONG, a_seed
from tests.failures.figures import Figures
from tests.failures.places import Broker, Folder
from tests.failures.verdict import Handling, Limits, judge
from tests.failures.vitals import Vitals
from tests.host.apps import Gate, make_host, wait_for, write_app
from wippy_lua import Host

pytestmark = [pytest.mark.failures, pytest.mark.timeout(300)]

STOPS = 17 if IS_LONG else 4
STOP_TIMEOUT = 5.0
#: Seconds beyond stop_timeout that a process has to end.
LEEWAY = 2.0
CONCURRENCY, PREFETCH = 8, 16
#: Messages handled in one life of the process, and those that wait for the next at least.
LIFE, WAITING = 60, 200

QUEUE = "- {{name: work, kind: queue.queue, driver: broker, queue_name: {name}}}\n"
CONSUMER = f"""\
- name: consumer
  kind: queue.consumer
  queue: work
  func: handler
  concurrency: {CONCURRENCY}
  prefetch: {PREFETCH}
  lifecycle: {{auto_start: true, stop_timeout: {STOP_TIMEOUT:g}s}}
- {{name: handler, kind: function.lua, source: file://handler.lua, modules: [queue, logger, time]}}
"""
BUSY = """\
local queue, logger, time = require("queue"), require("logger"), require("time")

return function()
  local message = queue.message()
  time.sleep("5ms")
  logger.info("handled", {id = message:id(), attempt = message:attempt()})
end
"""
ENDLESS = """\
local logger = require("logger")

return function()
  logger.info("begun")
  while true do end
end
"""


@pytest.fixture
def patient(broker: Broker) -> Broker:
    """A broker that gives a lost host's messages back far too late for these tests."""
    return Broker(broker.name, broker.fields, None if broker.lease is None else "1h")


def shows_ready(host: Host, count: int) -> bool:
    return host.info("app:work").ready == count


def handled(run: Running) -> list[Handling]:
    records = [record for record in run.records() if record["msg"] == "handled"]
    return [Handling(record["id"], record["attempt"], 0) for record in records]


def test_a_process_stopped_under_load_acks_what_it_handled_and_gives_the_rest_back(
    patient: Broker, folder: Folder, own: Path, figures: Figures
) -> None:
    seed = a_seed()
    chance = random.Random(seed)
    entries = patient.entry() + QUEUE.format(name=f"stop-{uuid4().hex}")
    write_app(folder.path, entries + CONSUMER, handler=BUSY)
    published: set[str] = set()
    handlings: list[Handling] = []
    with make_host(own, entries) as host:
        for _ in range(STOPS):
            while len(published) < len(handlings) + LIFE + WAITING:
                published.add(host.publish("app:work", {"n": len(published)}))
            with Running("run", folder.path, "--log-format", "json") as run:
                for _ in range(chance.randrange(1, LIFE)):
                    run.wait_for('"handled"')
                run.signal(signal.SIGTERM)
                stopped = time.monotonic()
                assert run.finish() == 0
                assert time.monotonic() - stopped < STOP_TIMEOUT
            handlings += handled(run)
            # At once, whatever the lease. RabbitMQ counts some milliseconds late.
            remaining = len(published) - len(handlings)
            wait_for(partial(shows_ready, host, remaining), 1.0)
    verdict = judge(
        {*published},
        {handling.message for handling in handlings},
        handlings,
        0,
        Limits(kills=0, held=CONCURRENCY + PREFETCH),
    )
    remarks = [f"{remaining} given back", f"seed {seed}"]
    figures.add("stopped", patient.name, len(published), STOPS, verdict, remarks)
    assert not verdict.problems
    assert not verdict.duplicates


def test_a_handler_that_never_ends_is_named_and_its_message_is_there_at_once(
    patient: Broker, folder: Folder, own: Path, figures: Figures
) -> None:
    entries = patient.entry() + QUEUE.format(name=f"stop-{uuid4().hex}")
    consumer = CONSUMER.replace(f"stop_timeout: {STOP_TIMEOUT:g}s", "stop_timeout: 500ms")
    write_app(folder.path, entries + consumer, handler=ENDLESS)
    with make_host(own, entries) as host:
        message = host.publish("app:work", {"n": 1})
        with Running("run", folder.path) as run:
            run.wait_for("begun")
            run.signal(signal.SIGTERM)
            stopped = time.monotonic()
            assert run.finish() == 1
            assert time.monotonic() - stopped < 0.5 + LEEWAY
        assert f"app:handler (message {message})" in run.output
        wait_for(partial(shows_ready, host, 1), 1.0)
    figures.kept("stopped, never ends", patient.name, 1, 1, remarks="exit 1, 1 given back")


# One host whose services are started and stopped from everywhere at once

CONSUMERS, CALLERS = 10, 200


def test_services_started_and_stopped_by_200_at_once_neither_hang_nor_leak(
    broker: Broker, own: Path, figures: Figures
) -> None:
    gate, chance = Gate(), random.Random(a_seed())
    name = uuid4().hex
    entries = broker.entry() + "".join(
        f"- {{name: q{n}, kind: queue.queue, driver: broker, queue_name: {name}-{n}}}\n"
        f"- {{name: c{n}, kind: queue.consumer, queue: q{n}, func: handler}}\n"
        for n in range(CONSUMERS)
    )
    entries += (
        "- {name: handler, kind: function.lua, source: file://handler.lua, modules: [gate]}\n"
    )
    handler = 'local gate = require("gate") return function(body) gate.note(body.n) end'
    with make_host(own, entries, {"gate": gate.functions()}, handler=handler) as host:

        def toggle(service: str) -> None:
            host.start_service(service)
            host.stop_service(service)
            host.start_service(service)

        def everything_once() -> None:
            callers = [
                gevent.spawn(toggle, f"app:c{chance.randrange(CONSUMERS)}") for _ in range(CALLERS)
            ]
            assert len(gevent.joinall(callers, timeout=60, raise_error=True)) == CALLERS
            for n in range(CONSUMERS):
                host.start_service(f"app:c{n}")
                host.publish(f"app:q{n}", {"n": n})
            wait_for(lambda: Counter(gate.seen) == Counter(range(CONSUMERS)), 20.0)
            gate.seen.clear()
            for n in range(CONSUMERS):
                host.stop_service(f"app:c{n}")
            gevent.sleep(0.2)

        everything_once()  # What is made once, as pools of VMs, is there now.
        before = Vitals.now()
        everything_once()
        after = Vitals.now()
    assert after.files <= before.files
    assert after.greenlets <= before.greenlets
    assert after.vms <= before.vms
    remarks = f"{after.files} files, {after.greenlets} greenlets, {after.vms} VMs"
    messages, faults = 2 * CONSUMERS, 2 * CALLERS
    figures.kept("started and stopped", broker.name, messages, faults, remarks=remarks)
