"""The SQS driver: the conformance suite, and what only this driver promises."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import gevent
import msgspec
import pytest
from botocore.stub import Stubber

from tests.drivers.sqs_server import Road, Server, running
from tests.host.apps import Gate, make_host, wait_for
from wippy_lua.clock import SystemClock
from wippy_lua.errors import Kind, PublishError, WippyError
from wippy_lua.log import NullLog
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.driver import Driver
from wippy_lua.queue.drivers.sqs_api import Api, Settings
from wippy_lua.queue.drivers.sqs_driver import CAPABILITIES, SqsDriver
from wippy_lua.queue.drivers.sqs_lane import Result
from wippy_lua.queue.message import JSON, TEXT, Message
from wippy_lua.testing import DriverSuite, QueueProbe
from wippy_lua.testing.probe import Patience, make_message

pytestmark = pytest.mark.network

ROOT = Path(__file__).parents[2]
PATIENCE = Patience()
REGION = "eu-central-1"
LEASE = 2


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def settings(server: Server) -> Settings:
    return Settings(
        region=REGION,
        endpoint=server.endpoint,
        access_key_id="test",
        secret_access_key="test",  # noqa: S106 - any will do on loopback
        visibility_timeout=LEASE,
        wait_time=0,
    )


Start = Callable[..., SqsDriver]


@pytest.fixture
def start(settings: Settings) -> Iterator[Start]:
    """Starts drivers with changed settings, and stops them in the end."""
    drivers: list[SqsDriver] = []

    def start(**changes: Any) -> SqsDriver:
        driver = SqsDriver(replace(settings, **changes), SystemClock(), NullLog())
        driver.start()
        drivers.append(driver)
        return driver

    yield start
    for driver in drivers:
        driver.stop()


@pytest.fixture
def driver(start: Start) -> SqsDriver:
    return start()


@pytest.fixture
def raw(server: Server) -> Iterator[Any]:
    """Another program on the same service."""
    client = boto3.client(
        "sqs",
        endpoint_url=server.endpoint,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",  # noqa: S106 - the same
    )
    yield client
    client.close()


class TestConformance(DriverSuite):
    capabilities = CAPABILITIES
    can_peek = False
    purges_delayed = False
    counts_without_expired = False
    largest_body = 700 * 1024  # As base64 it has to fit into 1 MiB.
    lease = float(LEASE)

    @pytest.fixture
    def driver(self, start: Start) -> Driver:
        return start()


def declare(driver: SqsDriver, name: str = "", **options: object) -> QueueProbe:
    config = DriverSuite().config(**options)
    if name:
        config = replace(config, queue_name=f"{config.queue_name}{name}")
    driver.declare_queue(config)
    return QueueProbe(driver, config.id, PATIENCE)


def url_of(driver: SqsDriver, queue: QueueProbe) -> str:
    return driver._queues[queue.id].place.url


# Declaring


def test_a_queue_with_other_attributes_is_a_conflict_that_shows_both(driver: SqsDriver) -> None:
    config = DriverSuite().config(message_retention="1h")
    driver.declare_queue(config)
    with pytest.raises(WippyError, match=r"'3600'.*'7200'") as caught:
        driver.declare_queue(replace(config, options={"message_retention": "2h"}))
    assert caught.value.kind is Kind.CONFLICT


def test_what_no_option_asks_for_may_be_as_it_is(driver: SqsDriver, raw: Any) -> None:
    raw.create_queue(QueueName="kept", Attributes={"VisibilityTimeout": "7", "DelaySeconds": "1"})
    driver.declare_queue(QueueConfig("app:kept", "app:sqs", "kept"))


def test_two_names_for_the_default_group_of_one_queue_are_a_conflict(driver: SqsDriver) -> None:
    config = replace(DriverSuite().config(), queue_name="groups.fifo")
    driver.declare_queue(config)
    with pytest.raises(WippyError, match=r"'default'.*'other'") as caught:
        driver.declare_queue(replace(config, id="app:two", options={"message_group_id": "other"}))
    assert caught.value.kind is Kind.CONFLICT


def test_a_wrong_key_is_a_permission_and_no_outage(settings: Settings) -> None:
    api = Api(settings)
    api.open()
    with Stubber(api._client) as stub:
        stub.add_client_error("get_queue_url", "InvalidClientTokenId", http_status_code=403)
        with pytest.raises(WippyError, match="InvalidClientTokenId") as caught:
            api.queue_url("q")
    api.close()
    assert (caught.value.kind, caught.value.retryable) == (Kind.PERMISSION_DENIED, False)


def test_an_unpatched_process_is_told_what_to_call() -> None:
    program = (
        "from wippy_lua.queue.drivers.sqs_driver import SqsDriver\n"
        "from wippy_lua.queue.drivers.sqs_api import Settings\n"
        "SqsDriver(Settings(region='x'), None, None).start()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=ROOT / "host",
        check=False,
    )
    assert "call gevent.monkey.patch_all() first thing" in done.stderr.splitlines()[-1]


# Batches that fail in part


def test_each_entry_of_a_batch_gets_its_own_answer(settings: Settings) -> None:
    api = Api(settings)
    api.open()
    answer = {
        "Successful": [{"Id": "0"}],
        "Failed": [
            {"Id": "1", "SenderFault": True, "Code": "ReceiptHandleIsInvalid", "Message": "old"},
            {"Id": "2", "SenderFault": False, "Code": "InternalError"},
        ],
    }
    with Stubber(api._client) as stub:
        stub.add_response("delete_message_batch", answer)
        results = api.batch("delete_message_batch", "http://q", [{"ReceiptHandle": "r"}] * 4)
    api.close()
    assert results[0] is None
    told = [(r.kind, r.retryable) for r in results[1:] if r is not None]
    assert told == [(Kind.INVALID, False), (Kind.UNAVAILABLE, True), (Kind.UNAVAILABLE, True)]


class Faults:
    """Makes entries of batches fail by their content, as SQS would: in an answer of status 200."""

    def __init__(self, driver: SqsDriver, monkeypatch: pytest.MonkeyPatch) -> None:
        self._batch = driver._api.batch
        self.fails: Callable[[Mapping[str, Any]], Result] = lambda _: None
        monkeypatch.setattr(driver._api, "batch", self.batch)

    def batch(self, operation: str, url: str, entries: Sequence[Mapping[str, Any]]) -> list[Result]:
        results = [self.fails(entry) for entry in entries]
        good = [entry for entry, result in zip(entries, results, strict=True) if result is None]
        answers = iter(self._batch(operation, url, good) if good else [])
        return [next(answers) if result is None else result for result in results]


@pytest.fixture
def faults(driver: SqsDriver, monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(driver, monkeypatch)


def broken(retryable: bool) -> WippyError:
    kind = Kind.UNAVAILABLE if retryable else Kind.INVALID
    return WippyError("broken", kind=kind, retryable=retryable)


def test_a_publish_names_the_messages_that_were_not_stored(
    driver: SqsDriver, faults: Faults
) -> None:
    queue = declare(driver)
    faults.fails = lambda entry: broken(False) if entry["MessageBody"] in ("b", "d") else None
    with pytest.raises(PublishError) as caught:
        queue.publish(b"a", b"b", b"c", b"d")
    assert list(caught.value.failed) == [1, 3]
    assert sorted(queue.attach().drain(2)) == [b"a", b"c"]


def test_what_failed_for_the_moment_is_sent_again(driver: SqsDriver, faults: Faults) -> None:
    queue = declare(driver)
    left = iter([broken(True), broken(True)])
    faults.fails = lambda entry: next(left, None) if entry["MessageBody"] == "b" else None
    queue.publish(b"a", b"b", b"c")
    assert sorted(queue.attach().drain(3)) == [b"a", b"b", b"c"]


def test_a_publish_that_keeps_failing_ends_in_time_with_the_cause(
    driver: SqsDriver, faults: Faults
) -> None:
    queue = declare(driver)
    faults.fails = lambda _: broken(True)
    begin = time.monotonic()
    with pytest.raises(WippyError, match="broken") as caught:
        queue.publish(b"a", timeout=0.5)
    assert caught.value.kind is Kind.UNAVAILABLE
    assert time.monotonic() - begin < 1.0


def test_a_copy_that_cannot_be_sent_leaves_the_message_there(
    driver: SqsDriver, faults: Faults
) -> None:
    queue = declare(driver)
    queue.publish(b"a")
    inbox = queue.attach()
    delivery = inbox.receive()
    faults.fails = lambda entry: broken(False) if "MessageBody" in entry else None
    delivery.release(0.0, charged=False)
    assert (inbox.receive().attempt, queue.info().message_count) == (2, 1)


def test_a_move_that_fails_keeps_the_delivery(driver: SqsDriver, faults: Faults) -> None:
    queue, target = declare(driver), declare(driver)
    queue.publish(b"a")
    inbox = queue.attach()
    delivery = inbox.receive()
    faults.fails = lambda entry: broken(False) if "MessageBody" in entry else None
    with pytest.raises(WippyError, match="broken"):
        delivery.move(target.id, delivery.message)
    delivery.release(0.0, charged=True)
    assert inbox.receive().message.body == b"a"


# Limits


def test_a_message_over_the_limit_is_refused_with_both_sizes(driver: SqsDriver) -> None:
    queue = declare(driver)
    with pytest.raises(WippyError, match=r"1\d{6} bytes .* over the 1048320") as caught:
        queue.publish(b"x" * 1024 * 1024)
    assert (caught.value.kind, caught.value.retryable) == (Kind.INVALID, False)
    assert queue.info().ready == 0


def test_the_limit_is_the_queue_s_own(driver: SqsDriver) -> None:
    queue = declare(driver, maximum_message_size="1KiB")
    with pytest.raises(WippyError, match="over the 768"):
        queue.publish(b"x" * 1024)


def test_large_messages_share_no_batch_that_would_be_too_large(driver: SqsDriver) -> None:
    queue = declare(driver)
    bodies = [b"%d" % n * 400_000 for n in range(5)]
    queue.publish(*bodies)
    assert sorted(queue.attach().drain(5)) == bodies


def test_a_dead_letter_that_is_too_large_goes_without_its_stack(driver: SqsDriver) -> None:
    queue, target = declare(driver), declare(driver)
    queue.publish(b"x" * (1024 * 1024 - 1024))
    delivery = queue.attach().receive()
    headers = {"x_error": "why", "x_error_stack": "s" * 4096, "x_attempts": 1}
    delivery.move(target.id, msgspec.structs.replace(delivery.message, headers=headers))
    assert target.attach().receive().message.headers == {"x_error": "why", "x_attempts": 1}


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


# FIFO


def test_a_fifo_queue_keeps_the_order_of_each_group(driver: SqsDriver) -> None:
    queue = declare(driver, ".fifo")
    for n in range(6):
        queue.publish(b"%d" % n, headers={"sqs.message_group_id": f"g{n % 2}"})
    inbox = queue.attach(credit=1)
    received = [int(inbox.drain(1)[0]) for _ in range(6)]
    assert [n for n in received if n % 2 == 0] == [0, 2, 4]
    assert [n for n in received if n % 2 == 1] == [1, 3, 5]


def test_a_fifo_queue_s_failed_message_holds_its_group(driver: SqsDriver) -> None:
    queue = declare(driver, ".fifo")
    queue.publish(b"a", b"b")
    inbox = queue.attach(credit=1)
    inbox.receive().release(1.0, charged=True)
    assert inbox.drain(2) == [b"a", b"b"]


def test_one_message_published_twice_is_one_on_a_fifo_queue(driver: SqsDriver) -> None:
    queue = declare(driver, ".fifo")
    message = make_message(b"m")
    for _ in range(2):
        driver.publish(queue.id, [message])
    same = [make_message(b"%d" % n, {"sqs.message_deduplication_id": "same"}) for n in range(2)]
    driver.publish(queue.id, same)
    assert queue.attach().drain(2) == [b"m", b"0"]
    assert queue.shows(ready=0)


def test_an_id_that_sqs_cannot_take_is_deduplicated_all_the_same(driver: SqsDriver) -> None:
    queue = declare(driver, ".fifo")
    message = Message("größer als " + "x" * 200, b"m", TEXT, {}, 1.0)
    for _ in range(2):
        driver.publish(queue.id, [message])
    assert queue.shows(ready=1)


def test_content_may_be_what_is_compared(driver: SqsDriver) -> None:
    queue = declare(driver, ".fifo", content_based_deduplication=True)
    queue.publish(b"m")
    queue.publish(b"m")
    assert queue.shows(ready=1)


def test_a_dead_letter_is_not_dropped_as_a_duplicate(driver: SqsDriver) -> None:
    queue, target = declare(driver), declare(driver, ".fifo")
    message = make_message(b"m", {"sqs.message_deduplication_id": "d", "x_attempts": 1})
    for _ in range(2):
        driver.publish(queue.id, [message])
    for delivery in queue.attach().receive_many(2):
        delivery.move(target.id, delivery.message)
    assert target.shows(ready=2)


def test_a_fifo_queue_refuses_a_delay(driver: SqsDriver) -> None:
    queue = declare(driver, ".fifo")
    with pytest.raises(WippyError, match="FIFO queue, which has no delay") as caught:
        queue.publish(b"m", delay=1.0)
    assert caught.value.kind is Kind.INVALID


# Other programs


def test_a_message_of_another_program_arrives_and_can_be_snoozed(
    driver: SqsDriver, raw: Any
) -> None:
    queue = declare(driver)
    sent = raw.send_message(
        QueueUrl=url_of(driver, queue),
        MessageBody='{"a": [1, "grüße"]}',
        MessageAttributes={
            "content_type": {"DataType": "String", "StringValue": JSON},
            "tries": {"DataType": "Number", "StringValue": "7"},
        },
    )
    inbox = queue.attach()
    first = inbox.receive()
    assert first.message.id == sent["MessageId"]
    assert first.message.body == '{"a": [1, "grüße"]}'.encode()
    assert (first.message.content_type, first.message.headers["tries"]) == (JSON, 7)
    first.release(0.0, charged=False)
    again = inbox.receive()
    assert (again.message, again.attempt) == (first.message, 1)


def test_another_program_can_read_a_text(driver: SqsDriver, raw: Any) -> None:
    queue = declare(driver)
    queue.publish('{"größe": 1}'.encode())
    received = raw.receive_message(QueueUrl=url_of(driver, queue))["Messages"]
    assert received[0]["Body"] == '{"größe": 1}'


def test_what_a_newer_host_wrote_is_left_to_it(driver: SqsDriver, raw: Any) -> None:
    queue = declare(driver)
    raw.send_message(
        QueueUrl=url_of(driver, queue),
        MessageBody="?",
        MessageAttributes={"wippy": {"DataType": "String", "StringValue": '{"v": 99}'}},
    )
    queue.publish(b"mine")
    assert queue.attach().drain(1) == [b"mine"]
    assert queue.shows(ready=0, in_flight=1)


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
from wippy_lua.queue.drivers.sqs_api import Settings
from wippy_lua.queue.drivers.sqs_driver import SqsDriver
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
