"""Conformance: how messages arrive, are settled, wait, expire, move, and are shared out."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from wippy_lua.errors import QueueNotFound
from wippy_lua.queue.driver import Driver
from wippy_lua.queue.message import JSON, Header
from wippy_lua.testing.base import SuiteBase, needs_bounds
from wippy_lua.testing.probe import QueueProbe, eventually, make_message

BODIES = {
    "text": "grüße, 世界".encode(),
    "binary": bytes(range(256)),
    "zeros": b"\0\0\0",
    "json": b'{"a": [1, 2.0, null]}',
    "space": b" ",
    "empty": b"",
}

HEADERS: dict[str, Header] = {
    "text": "grüße, 世界",
    "empty": "",
    "digits": "1",
    "word": "true",
    "yes": True,
    "no": False,
    "zero": 0,
    "negative": -7,
    "large": 2**53 + 1,
    "half": 0.5,
    "whole": 1.0,
}

NEUTRAL: dict[str, Header] = {
    "priority": 4,
    "correlation_id": "c-1",
    "reply_to": "app:replies",
    "content_type": JSON,
    "message_type": "order.created",
    "encoding": "gzip",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "vendor=1",
}


class DeliveryTests(SuiteBase):
    """From a publish to its settlement."""

    # Messages arrive as they were published

    @pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
    def test_bodies_arrive_unchanged(self, queue: QueueProbe, body: bytes) -> None:
        queue.publish(body)
        assert queue.attach().drain(1) == [body]

    def test_a_large_body_arrives_unchanged(self, queue: QueueProbe) -> None:
        body = bytes(range(256)) * (self.largest_body // 256)
        queue.publish(body)
        assert queue.attach().drain(1) == [body]

    @pytest.mark.parametrize("headers", [HEADERS, NEUTRAL, {}], ids=["types", "neutral", "none"])
    def test_headers_arrive_with_their_types(
        self, queue: QueueProbe, headers: dict[str, Header]
    ) -> None:
        queue.publish(b"m", headers=headers)
        received = queue.attach().receive().message.headers
        assert received == headers
        assert {k: type(v) for k, v in received.items()} == {k: type(v) for k, v in headers.items()}

    def test_content_type_id_and_date_arrive(self, driver: Driver, queue: QueueProbe) -> None:
        message = make_message(b"{}", content_type=JSON, published_at=1_700_000_000.25)
        driver.publish(queue.id, [message])
        received = queue.attach().receive().message
        assert received.content_type == JSON
        if self.preserves_identity:
            assert (received.id, received.published_at) == (message.id, message.published_at)

    # Order

    def test_messages_arrive_in_the_order_of_publishing(self, queue: QueueProbe) -> None:
        bodies = [b"%d" % n for n in range(50)]
        for body in bodies:
            queue.publish(body)
        assert queue.attach(credit=1).drain(50) == bodies

    def test_many_messages_of_one_publish_keep_their_order(self, queue: QueueProbe) -> None:
        bodies = [b"%d" % n for n in range(200)]
        queue.publish(*bodies)
        assert queue.attach(credit=7).drain(200) == bodies

    def test_higher_priorities_come_first(self, queue: QueueProbe) -> None:
        priorities: list[Header] = [0, 9, 5, 9, 1]
        for index, priority in enumerate(priorities):
            queue.publish(b"%d" % index, headers={"priority": priority})
        received = queue.attach(credit=1).drain(5)
        if self.capabilities.priority:
            assert received == [b"1", b"3", b"2", b"4", b"0"]
        else:
            assert sorted(received) == [b"0", b"1", b"2", b"3", b"4"]

    def test_a_priority_out_of_range_is_carried_and_means_nothing(self, queue: QueueProbe) -> None:
        odd: list[Header] = ["high", 10, -1, 5.0, True]
        for priority in odd:
            queue.publish(b"m", headers={"priority": priority})
        received = queue.attach().receive_many(5)
        assert [delivery.message.headers["priority"] for delivery in received] == odd

    # Settling

    def test_ack_removes_the_message(self, queue: QueueProbe) -> None:
        queue.publish(b"m")
        inbox = queue.attach()
        delivery = inbox.receive()
        assert delivery.attempt == 1
        delivery.ack()
        assert queue.shows(ready=0)
        assert inbox.is_quiet()

    def test_a_charged_release_counts_the_attempt(self, queue: QueueProbe) -> None:
        queue.publish(b"m")
        inbox = queue.attach()
        for attempt in (1, 2, 3):
            delivery = inbox.receive()
            assert (delivery.attempt, delivery.message.body) == (attempt, b"m")
            delivery.release(0.0, charged=True)

    def test_an_uncharged_release_gives_the_attempt_back(self, queue: QueueProbe) -> None:
        queue.publish(b"m")
        inbox = queue.attach()
        inbox.receive().release(0.0, charged=False)
        second = inbox.receive()
        second.release(0.0, charged=True)
        if self.capabilities.uncharged_release:
            assert (second.attempt, inbox.receive().attempt) == (1, 2)

    def test_a_released_message_goes_to_the_tail(self, queue: QueueProbe) -> None:
        queue.publish(b"a", b"b", b"c")
        inbox = queue.attach(credit=1)
        inbox.receive().release(0.0, charged=True)
        if self.capabilities.redelivers_at_tail:
            assert inbox.drain(3) == [b"b", b"c", b"a"]
        else:
            assert sorted(inbox.drain(3)) == [b"a", b"b", b"c"]

    @pytest.mark.parametrize("charged", [True, False])
    def test_a_release_with_a_delay_waits(self, queue: QueueProbe, charged: bool) -> None:
        queue.publish(b"m")
        inbox = queue.attach()
        inbox.receive().release(2 * self.unit, charged)
        assert queue.shows(ready=0, delayed=1)
        assert inbox.is_quiet()
        self.advance(2 * self.unit)
        again = inbox.receive()
        if self.capabilities.uncharged_release:
            assert again.attempt == 1 + charged

    def test_a_second_settlement_changes_nothing(self, queue: QueueProbe) -> None:
        queue.publish(b"a", b"b")
        inbox = queue.attach(credit=1)
        first = inbox.receive()
        first.ack()
        first.ack()
        first.release(0.0, charged=True)
        first.move(queue.id, first.message)
        assert inbox.receive().message.body == b"b"
        assert inbox.is_quiet()  # The credit came back once.
        assert queue.shows(ready=0, in_flight=1)

    def test_settling_again_does_not_touch_the_next_attempt(self, queue: QueueProbe) -> None:
        queue.publish(b"m")
        inbox = queue.attach()
        first = inbox.receive()
        first.release(0.0, charged=True)
        second = inbox.receive()
        first.ack()
        assert queue.shows(ready=0, in_flight=1)
        second.release(0.0, charged=True)
        assert inbox.receive().attempt == 3

    # Time

    def test_a_delayed_message_waits(self, queue: QueueProbe) -> None:
        if not self.capabilities.delay:
            assert self.refuses(queue, delay=self.unit)
            return
        inbox = queue.attach()
        queue.publish(b"late", delay=2 * self.unit)
        queue.publish(b"now")
        assert inbox.drain(1) == [b"now"]
        assert queue.shows(ready=0, delayed=1)
        assert inbox.is_quiet()
        self.advance(2 * self.unit)
        assert inbox.drain(1) == [b"late"]

    def test_delayed_messages_come_when_each_is_due(self, queue: QueueProbe) -> None:
        if not self.capabilities.delay:
            assert self.refuses(queue, delay=self.unit)
            return
        queue.publish(b"second", delay=3 * self.unit)
        queue.publish(b"first", delay=self.unit)
        inbox = queue.attach()
        self.advance(self.unit)
        assert inbox.drain(1) == [b"first"]
        self.advance(2 * self.unit)
        assert inbox.drain(1) == [b"second"]

    def test_a_ready_message_expires(self, queue: QueueProbe) -> None:
        if not self.capabilities.ttl:
            assert self.refuses(queue, ttl=self.unit)
            return
        queue.publish(b"gone", ttl=self.unit)
        queue.publish(b"kept", ttl=100 * self.unit)
        queue.publish(b"for ever")
        self.advance(1.5 * self.unit)
        assert queue.shows(ready=2 if self.counts_without_expired else 3)
        assert queue.attach().drain(2) == [b"kept", b"for ever"]
        assert queue.shows(ready=0)

    def test_a_delayed_message_expires(self, queue: QueueProbe) -> None:
        if not (self.capabilities.ttl and self.capabilities.delay):
            assert self.refuses(queue, ttl=self.unit, delay=2 * self.unit)
            return
        queue.publish(b"m", ttl=self.unit, delay=2 * self.unit)
        inbox = queue.attach()
        self.advance(3 * self.unit)
        assert inbox.is_quiet()
        assert queue.shows(ready=0)

    def test_a_released_message_keeps_its_expiry(self, queue: QueueProbe) -> None:
        if not self.capabilities.ttl:
            assert self.refuses(queue, ttl=self.unit)
            return
        queue.publish(b"m", ttl=2 * self.unit)
        inbox = queue.attach()
        delivery = inbox.receive()
        self.advance(2.5 * self.unit)
        assert queue.shows(ready=0, in_flight=1)  # What a handler holds does not expire.
        delivery.release(0.0, charged=True)
        assert inbox.is_quiet()
        assert queue.shows(ready=0)

    # Credit and consumers

    def test_no_more_than_the_credit_is_unsettled(self, queue: QueueProbe) -> None:
        queue.publish(*[b"m"] * 10)
        inbox = queue.attach(credit=3)
        inbox.receive_many(3)
        assert inbox.is_quiet()
        assert queue.shows(ready=7, in_flight=3)

    def test_every_way_of_settling_returns_the_credit(
        self, driver: Driver, queue: QueueProbe
    ) -> None:
        target = self.declare(driver)
        queue.publish(b"a", b"b", b"c", b"d")
        inbox = queue.attach(credit=1)
        inbox.receive().ack()
        inbox.receive().release(self.unit, charged=True)
        third = inbox.receive()
        third.move(target.id, third.message)
        assert inbox.receive().message.body == b"d"

    def test_consumers_share_a_queue(self, queue: QueueProbe) -> None:
        inboxes = [queue.attach(credit=2) for _ in range(3)]
        queue.publish(*[b"%d" % n for n in range(6)])
        bodies = [d.message.body for inbox in inboxes for d in inbox.receive_many(2)]
        assert sorted(bodies) == [b"%d" % n for n in range(6)]
        assert queue.shows(ready=0, in_flight=6)

    def test_queues_do_not_mix(self, driver: Driver, queue: QueueProbe) -> None:
        other = self.declare(driver)
        queue.publish(b"mine")
        other.publish(b"other")
        assert other.attach().drain(1) == [b"other"]
        assert queue.attach().drain(1) == [b"mine"]

    def test_a_detached_consumer_gets_nothing_more(self, queue: QueueProbe) -> None:
        queue.publish(b"held")
        inbox = queue.attach()
        held = inbox.receive()
        attachment = queue.attachments[0]
        attachment.detach()
        attachment.detach()
        queue.publish(b"later")
        assert inbox.is_quiet()
        held.ack()
        assert queue.shows(ready=1)

    def test_what_a_detached_consumer_held_goes_to_another(self, queue: QueueProbe) -> None:
        queue.publish(b"a", b"b")
        held = queue.attach().receive_many(2)
        queue.detach()
        for delivery in held:
            delivery.release(0.0, charged=False)
        again = queue.attach().receive_many(2)
        assert sorted(delivery.message.body for delivery in again) == [b"a", b"b"]
        if self.capabilities.uncharged_release:
            assert [delivery.attempt for delivery in again] == [1, 1]

    def test_consumers_are_counted(self, queue: QueueProbe) -> None:
        queue.attach()
        queue.attach()
        assert eventually(lambda: queue.info().consumer_count in (2, None), self.patience)
        queue.detach()
        assert eventually(lambda: queue.info().consumer_count in (0, None), self.patience)

    # Moving, which is how messages are dead-lettered

    def test_move_puts_the_given_message_on_the_other_queue(
        self, driver: Driver, queue: QueueProbe
    ) -> None:
        target = self.declare(driver)
        queue.publish(b"m", headers={"a": 1})
        inbox = queue.attach()
        inbox.receive().release(0.0, charged=True)
        delivery = inbox.receive()
        delivery.move(target.id, replace(delivery.message, headers={"a": 1, "x_attempts": 2}))
        assert queue.shows(ready=0)
        moved = target.attach().receive()
        assert (moved.message.body, moved.attempt) == (b"m", 1)
        assert moved.message.headers == {"a": 1, "x_attempts": 2}

    @needs_bounds
    def test_move_needs_no_room(self, driver: Driver) -> None:
        queue = self.declare(driver)
        target = self.bounded(driver, max_length=1)
        target.publish(b"there")
        queue.publish(b"moved")
        delivery = queue.attach().receive()
        delivery.move(target.id, delivery.message)
        assert target.shows(ready=2)
        assert target.attach().drain(2) == [b"there", b"moved"]

    def test_move_to_an_unknown_queue_keeps_the_message(self, queue: QueueProbe) -> None:
        queue.publish(b"m")
        inbox = queue.attach()
        delivery = inbox.receive()
        with pytest.raises(QueueNotFound):
            delivery.move("test:nowhere", delivery.message)
        delivery.release(0.0, charged=True)
        assert inbox.receive().message.body == b"m"
