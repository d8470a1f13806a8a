"""Hosts that stand still so long that others take over, and then go on as if nothing had been."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from subprocess import Popen
from uuid import uuid4

import gevent
import pytest

from tests.failures.crash import IS_LONG, Plan, Trail, a_seed, run
from tests.failures.figures import Figures
from tests.failures.places import STOP_SECONDS, Broker, Folder
from tests.host.apps import make_host, wait_for, write_app

pytestmark = pytest.mark.failures

MESSAGES, PAUSES, TIMEOUT = (100_000, 20, 900) if IS_LONG else (2_000, 1, 120)
#: One lease and a half. RabbitMQ has none: it gives up a connection after three heartbeats.
PAUSE_SECONDS = {"redis": 1.5, "sqlite": 1.5, "amqp": 4.5}

QUEUE = "- {{name: work, kind: queue.queue, driver: broker, queue_name: {name}}}\n"
CONSUMER = """\
- name: consumer
  kind: queue.consumer
  queue: work
  func: handler
  concurrency: 1
  lifecycle: {auto_start: true}
- {name: handler, kind: function.lua, source: file://handler.lua, modules: [queue, work]}
"""
WAITS = """\
local queue, work = require("queue"), require("work")

return function()
  local message = queue.message()
  local run = work.note(message:attempt())
  if run <= 2 then
    work.wait("go-" .. run)
  end
  if run == 2 then
    error("the second holder fails")
  end
  work.handle(message:id(), message:attempt())
end
"""


@pytest.fixture
def impatient(broker: Broker) -> Broker:
    """A broker that takes a host for lost within seconds."""
    if broker.lease is not None:
        return broker
    return replace(broker, fields={**broker.fields, "heartbeat": "1s"})


@contextmanager
def paused(process: Popen[bytes]) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def end(process: Popen[bytes]) -> None:
    """Stops a host, which has told the broker all it has to tell by then."""
    process.send_signal(signal.SIGTERM)
    assert process.wait(STOP_SECONDS) == 0


def let_go(folder: Folder, *runs: int) -> None:
    for number in runs:
        (folder.path / f"go-{number}").touch()


@pytest.mark.timeout(TIMEOUT)
def test_a_late_ack_settles_nothing_of_the_next_holder(
    impatient: Broker, folder: Folder, own: Path
) -> None:
    queue = impatient.entry() + QUEUE.format(name=f"paused-{uuid4().hex}")
    write_app(folder.path, queue + CONSUMER, handler=WAITS)
    with make_host(own, queue) as host, folder.host() as first:
        host.publish("app:work", {"n": 1}, message_id="m")
        wait_for(lambda: folder.notes() == [1], STOP_SECONDS)
        with paused(first):
            begun = time.monotonic()
            with folder.host() as second:
                wait_for(lambda: len(folder.notes()) == 2, STOP_SECONDS)
                gevent.sleep(max(0.0, begun + PAUSE_SECONDS[impatient.name] - time.monotonic()))
                first.send_signal(signal.SIGCONT)
                let_go(folder, 1)
                wait_for(lambda: f"m 1 {first.pid}" in folder.lines("handled"), STOP_SECONDS)
                end(first)  # Its late ack is on the broker.
                let_go(folder, 2)
                wait_for(lambda: handled_by(second, folder), STOP_SECONDS)
                wait_for(lambda: host.info("app:work").message_count == 0, STOP_SECONDS)
    attempts = folder.notes()
    # On Redis a put-back may first reach the read that the sleeper has left on the server.
    assert sorted(set(attempts)) == sorted(attempts)
    assert handled_by(second, folder) == [f"m {max(attempts)} {second.pid}"]


def handled_by(process: Popen[bytes], folder: Folder) -> list[str]:
    return [line for line in folder.lines("handled") if line.endswith(f" {process.pid}")]


@pytest.mark.timeout(TIMEOUT)
def test_hosts_that_stand_still_again_and_again_lose_nothing_and_settle_nothing_twice(
    impatient: Broker, folder: Folder, own: Path, figures: Figures
) -> None:
    plan = Plan(MESSAGES, PAUSES, a_seed())
    print("seed", plan.seed)  # noqa: T201 - shown when the test fails, by an error in it too

    def stand_still(folder: Folder, trail: Trail, count: int, later: float) -> None:
        """Runs two hosts, of which one stands still for a while and then goes on."""
        with folder.host() as sleeper, folder.host():
            trail.wait_for_count(count)
            gevent.sleep(later)
            with paused(sleeper):
                gevent.sleep(PAUSE_SECONDS[impatient.name])

    verdict = run(impatient, folder, own, plan, stand_still)
    figures.add("host paused", impatient.name, MESSAGES, PAUSES, verdict, [f"seed {plan.seed}"])
    assert not verdict.problems
