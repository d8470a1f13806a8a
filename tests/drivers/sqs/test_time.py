"""Delays, leases, polls, outages and crashes on SQS, and a whole host."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from tests.drivers.sqs.declaring import LEASE, PATIENCE, Start, declare
from tests.drivers.sqs.server import Road, Server
from tests.host.apps import Gate, make_host, wait_for
from wippy_lua.errors import Kind, WippyError
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.drivers.sqs.driver import SqsDriver
from wippy_lua.testing import QueueProbe

pytestmark = pytest.mark.network

ROOT = Path(__file__).parents[3]


# Time


def test_a_delay_that_sqs_cannot_wait_is_waited_in_steps(start: Start) -> None:
    driver = start(longest_delay=1)
    queue = declare(driver)
    begin = time.monotonic()
    queue.publish(b"late", delay=2.2)
    delivery = queue.attach().receive()
    assert 2.2 <= time.monotonic() - begin < 5.0
    assert (delivery.message.body, delivery.attempt) == (b"late", 1)


def test_a_release_for_longer_than_a_lease_may_last_keeps_count(start: Start) -> None:
    driver = start(longest_delay=1, longest_lease=1)
    queue = declare(driver)
    queue.publish(b"m")
    inbox = queue.attach()
    begin = time.monotonic()
    inbox.receive().release(2.2, charged=True)
    again = inbox.receive()
    assert 2.2 <= time.monotonic() - begin < 5.0
    assert again.attempt == 2


def test_leases_are_kept_for_all_that_is_held(driver: SqsDriver) -> None:
    queue = declare(driver)
    queue.publish(*[b"%d" % n for n in range(12)])
    held = driver.take(queue.id, 1)  # By an operator, and below by a consumer that is slow.
    held += queue.attach(credit=11).receive_many(11)
    gevent.sleep(1.7 * LEASE)
    assert queue.shows(ready=0, in_flight=12)
    for delivery in held:
        delivery.ack()
    assert queue.shows(ready=0)


def test_settling_after_the_lease_touches_nothing(driver: SqsDriver, start: Start) -> None:
    queue = declare(driver)
    queue.publish(b"m")
    late = queue.attach().receive()
    queue.detach()
    assert driver._keeper is not None
    driver._keeper.kill()  # As when the process stood still.
    gevent.sleep(LEASE)
    other = start()
    other.declare_queue(QueueConfig(queue.id, "app:sqs", driver._queues[queue.id].place.name))
    now = QueueProbe(other, queue.id, PATIENCE).attach().receive()
    late.ack()
    gevent.sleep(0.2)
    assert (now.attempt, queue.info().in_flight) == (2, 1)
    now.ack()
    assert queue.shows(ready=0)


# Polls, outages and crashes


def test_a_poll_that_waits_gets_a_message_at_once(start: Start) -> None:
    driver = start(wait_time=5)
    queue = declare(driver)
    inbox = queue.attach()
    gevent.sleep(0.5)
    begin = time.monotonic()
    queue.publish(b"m")
    inbox.receive().ack()
    assert time.monotonic() - begin < 2.0


def test_stopping_does_not_wait_for_a_poll(start: Start) -> None:
    driver = start(wait_time=20)
    declare(driver).attach()
    gevent.sleep(0.2)
    begin = time.monotonic()
    driver.stop()
    assert time.monotonic() - begin < 1.0


def test_what_a_poll_brings_after_the_detaching_goes_back_uncharged(start: Start) -> None:
    driver = start(wait_time=5)
    queue = declare(driver)
    inbox = queue.attach()
    gevent.sleep(0.5)
    queue.detach()
    queue.publish(b"m")
    again = queue.attach().receive()
    assert (again.message.body, again.attempt) == (b"m", 1)
    assert inbox.is_quiet()


def test_settlements_reach_sqs_before_the_driver_stops(start: Start) -> None:
    driver = start()
    queue = declare(driver)
    queue.publish(*[b"m"] * 40)
    inbox = queue.attach(credit=40)
    held = inbox.receive_many(40)
    for delivery in held[:30]:
        delivery.ack()
    driver.stop()
    driver.start()
    assert queue.shows(ready=10)


def test_what_is_given_back_at_a_stop_is_there_once_and_uncharged(start: Start) -> None:
    driver = start()
    queue = declare(driver)
    queue.publish(*[b"%d" % n for n in range(25)])
    held = queue.attach(credit=25).receive_many(25)
    queue.detach()
    for delivery in held:
        delivery.release(0.0, charged=False)
    driver.stop()
    driver.start()
    again = queue.attach(credit=30).receive_many(25)
    assert sorted(int(delivery.message.body) for delivery in again) == list(range(25))
    assert {delivery.attempt for delivery in again} == {1}
    assert queue.shows(ready=0, in_flight=25)


@pytest.fixture
def road(server: Server) -> Iterator[Road]:
    road = Road(server.port)
    road.open()
    yield road
    road.close()


def test_an_outage_is_waited_out_by_publishers_and_consumers(start: Start, road: Road) -> None:
    driver = start(endpoint=road.endpoint, wait_time=1)
    queue = declare(driver)
    inbox = queue.attach()
    queue.publish(b"before")
    held = inbox.receive()
    road.close()
    waiting = gevent.spawn(queue.publish, b"during", timeout=10.0)
    with pytest.raises(WippyError) as caught:
        queue.publish(b"lost", timeout=0.6)
    assert (caught.value.kind, caught.value.retryable) == (Kind.UNAVAILABLE, True)
    road.open()
    waiting.get(timeout=10)
    assert inbox.drain(1) == [b"during"]
    held.ack()
    assert queue.shows(ready=0)


def test_stopping_in_an_outage_is_quick(start: Start, road: Road) -> None:
    driver = start(endpoint=road.endpoint)
    queue = declare(driver)
    queue.publish(b"m")
    queue.attach().receive()
    road.close()
    publisher = gevent.spawn(queue.publish, b"waits")
    gevent.sleep(0.2)
    begin = time.monotonic()
    driver.stop()
    assert time.monotonic() - begin < 1.5
    with pytest.raises(WippyError) as caught:
        publisher.get(timeout=1)
    assert caught.value.kind is Kind.UNAVAILABLE


HOLDER = """
from gevent import monkey
monkey.patch_all()
import sys
import gevent
from wippy_lua.clock import SystemClock
from wippy_lua.log import NullLog
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.drivers.sqs.api import Settings
from wippy_lua.queue.drivers.sqs.driver import SqsDriver
from wippy_lua.testing import Inbox
from wippy_lua.testing.probe import Patience
endpoint, name, lease = sys.argv[1:]
settings = Settings("eu-central-1", endpoint, "test", "test", None, int(lease), 1)
driver = SqsDriver(settings, SystemClock(), NullLog())
driver.start()
driver.declare_queue(QueueConfig("app:q", "app:sqs", name))
inbox = Inbox(Patience())
driver.attach("app:q", 5, inbox)
inbox.receive_many(2)[0].ack()
gevent.sleep(0.5)
print("held", flush=True)
gevent.sleep(60)
"""


def test_what_a_killed_process_held_comes_back_with_its_attempt_spent(
    driver: SqsDriver, server: Server
) -> None:
    queue = declare(driver)
    queue.publish(b"a", b"b")
    name = driver._queues[queue.id].place.name
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, server.endpoint, name, str(LEASE)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT / "host",
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "held\n"
    finally:
        holder.kill()
        holder.communicate()
    delivery = queue.attach().receive()
    assert delivery.attempt == 2
    delivery.ack()
    assert queue.shows(ready=0)


# The whole host


APP = """
- {{name: aws, kind: config.aws, region: eu-central-1, access_key_id: t, secret_access_key: t}}
- {{name: sqs, kind: queue.driver.sqs, config: aws, endpoint: "{endpoint}", wait_time: 1}}
- {{name: dead, kind: queue.queue, driver: sqs, queue_name: {prefix}-dead}}
- name: tasks
  kind: queue.queue
  driver: sqs
  queue_name: {prefix}-tasks
  driver_options: {{sqs: {{message_retention: 1h}}}}
  dead_letter: {{queue: dead, max_attempts: 2}}
- name: consumer
  kind: queue.consumer
  queue: tasks
  func: handler
  retry: {{initial_delay: 0, jitter: 0}}
  lifecycle: {{auto_start: true}}
- {{name: handler, kind: function.lua, source: file://handler.lua, modules: [queue, test]}}
"""

HANDLER = """
local queue, test = require("queue"), require("test")
return function(body)
  test.note(body.n .. ":" .. queue.message():attempt() .. ":" .. queue.message():header("who"))
  if body.n == 2 then error("never") end
end
"""


def test_a_host_handles_retries_and_buries(server: Server, tmp_path: Path) -> None:
    gate = Gate()
    entries = APP.format(endpoint=server.endpoint, prefix="host")
    host = make_host(tmp_path, entries, {"test": gate.functions()}, handler=HANDLER)
    with host:
        for n in (1, 2):
            host.publish("app:tasks", {"n": n}, {"who": "me"})
        wait_for(lambda: host.info("app:dead").ready == 1, timeout=10)
        assert sorted(gate.seen) == ["1:1:me", "2:1:me", "2:2:me"]
        wait_for(lambda: host.info("app:tasks").message_count == 0)
