"""Declaring, limits, FIFO queues and other programs on SQS."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from botocore.stub import Stubber

from tests.drivers.sqs.declaring import declare, url_of
from wippy_lua.errors import Kind, WippyError
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.drivers.sqs.api import Api, Settings
from wippy_lua.queue.drivers.sqs.driver import SqsDriver
from wippy_lua.queue.message import JSON, TEXT, Message
from wippy_lua.testing import DriverSuite
from wippy_lua.testing.probe import make_message

pytestmark = pytest.mark.network

ROOT = Path(__file__).parents[3]


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
        "from wippy_lua.queue.drivers.sqs.driver import SqsDriver\n"
        "from wippy_lua.queue.drivers.sqs.api import Settings\n"
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
