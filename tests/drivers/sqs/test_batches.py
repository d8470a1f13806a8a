"""Batches that SQS answers with status 200, though entries of them failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gevent
import pytest
from botocore.stub import Stubber

from tests.drivers.sqs.declaring import declare
from wippy_lua.errors import Kind, PublishError, WippyError
from wippy_lua.queue.drivers.sqs.api import Api, Settings
from wippy_lua.queue.drivers.sqs.driver import SqsDriver
from wippy_lua.queue.drivers.sqs.lane import Result

pytestmark = pytest.mark.network


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
        self.sent: list[Sequence[Mapping[str, Any]]] = []
        self.fails: Callable[[Mapping[str, Any]], Result] = lambda _: None
        monkeypatch.setattr(driver._api, "batch", self.batch)

    def batch(self, operation: str, url: str, entries: Sequence[Mapping[str, Any]]) -> list[Result]:
        self.sent.append(entries)
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


def test_messages_of_many_publishers_share_calls(driver: SqsDriver, faults: Faults) -> None:
    queue = declare(driver)
    publishers = [gevent.spawn(queue.publish, b"%d" % n) for n in range(30)]
    gevent.joinall(publishers, timeout=10, raise_error=True)
    assert [len(entries) for entries in faults.sent] == [10, 10, 10]
