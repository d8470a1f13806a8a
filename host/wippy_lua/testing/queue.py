"""Conformance: declaring, publishing under pressure, what operators see, stopping, volume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import gevent
import pytest

from wippy_lua.errors import Kind, PublishError, QueueFull, QueueNotFound, WippyError
from wippy_lua.queue.driver import Driver
from wippy_lua.testing.base import SuiteBase, needs_bounds
from wippy_lua.testing.probe import Inbox, QueueProbe, eventually, make_message


class QueueTests(SuiteBase):
    """A queue from its declaration to the end of its driver."""

    # Declaring

    def test_declaring_again_keeps_the_messages(self, driver: Driver) -> None:
        config = self.config()
        driver.declare_queue(config)
        queue = QueueProbe(driver, config.id, self.patience)
        queue.publish(b"m")
        driver.declare_queue(config)
        assert queue.attach().drain(1) == [b"m"]

    def test_other_properties_are_a_conflict_that_shows_both(self, driver: Driver) -> None:
        if not self.capabilities.max_length:
            return
        config = self.config(max_length=11)
        driver.declare_queue(config)
        with pytest.raises(WippyError, match=r"11.*22") as caught:
            driver.declare_queue(replace(config, options={"max_length": 22}))
        assert caught.value.kind is Kind.CONFLICT

    def test_an_unknown_option_is_named(self, driver: Driver) -> None:
        with pytest.raises(WippyError, match="max_lenght") as caught:
            self.declare(driver, max_lenght=10)
        assert caught.value.kind is Kind.INVALID

    @pytest.mark.parametrize("value", [0, -1, "many", True, 1.5, 10**12])
    def test_a_bound_out_of_range_is_invalid(self, driver: Driver, value: object) -> None:
        with pytest.raises(WippyError, match="max_length") as caught:
            self.declare(driver, max_length=value)
        assert caught.value.kind is Kind.INVALID

    def test_without_declare_only_what_exists_is_used(self, driver: Driver) -> None:
        config = replace(self.config(), declare=False)
        with pytest.raises(QueueNotFound):
            driver.declare_queue(config)
        driver.declare_queue(replace(config, declare=True))
        driver.declare_queue(config)

    def test_two_ids_of_one_name_are_one_queue(self, driver: Driver) -> None:
        config = self.config()
        alias = replace(config, id=f"{config.id}.alias")
        driver.declare_queue(config)
        driver.declare_queue(alias)
        QueueProbe(driver, config.id, self.patience).publish(b"m")
        assert QueueProbe(driver, alias.id, self.patience).attach().drain(1) == [b"m"]

    @pytest.mark.parametrize(
        "verb", ["publish", "attach", "info", "take", "purge", "peek", "browse", "pick", "flush"]
    )
    def test_a_queue_that_was_not_declared_is_not_found(self, driver: Driver, verb: str) -> None:
        calls: dict[str, Callable[[], object]] = {
            "publish": lambda: driver.publish("test:nowhere", [make_message()]),
            "attach": lambda: driver.attach("test:nowhere", 1, Inbox(self.patience)),
            "info": lambda: driver.info("test:nowhere"),
            "take": lambda: driver.take("test:nowhere", 1),
            "purge": lambda: driver.purge("test:nowhere"),
            "peek": lambda: driver.peek("test:nowhere", 1),
            "browse": lambda: driver.browse("test:nowhere"),
            "pick": lambda: driver.pick("test:nowhere", []),
            "flush": lambda: driver.flush("test:nowhere"),
        }
        with pytest.raises(QueueNotFound, match="test:nowhere"):
            calls[verb]()

    # Publishing under pressure

    @needs_bounds
    def test_a_full_queue_fails_a_publish_after_its_timeout(self, driver: Driver) -> None:
        queue = self.bounded(driver, max_length=2)
        queue.publish(b"a", b"b")
        publisher = gevent.spawn(queue.publish, b"c", timeout=self.unit)
        assert not publisher.ready()
        self.advance(self.unit)
        with pytest.raises(QueueFull) as caught:
            publisher.get(timeout=self.patience.must)
        assert (caught.value.kind, caught.value.retryable) == (Kind.UNAVAILABLE, True)
        assert queue.shows(ready=2)

    @needs_bounds
    def test_a_waiting_publish_goes_on_when_there_is_room(self, driver: Driver) -> None:
        queue = self.bounded(driver, max_length=1)
        queue.publish(b"a")
        publisher = gevent.spawn(queue.publish, b"b", timeout=100 * self.unit)
        gevent.sleep(0)
        assert queue.attach().drain(2) == [b"a", b"b"]
        publisher.get(timeout=self.patience.must)

    @needs_bounds
    def test_a_publish_that_was_partly_stored_says_which_failed(self, driver: Driver) -> None:
        queue = self.bounded(driver, max_length=3)
        queue.publish(b"a")
        publisher = gevent.spawn(queue.publish, b"b", b"c", b"d", b"e", timeout=self.unit)
        gevent.sleep(0)
        self.advance(self.unit)
        with pytest.raises(PublishError) as caught:
            publisher.get(timeout=self.patience.must)
        assert list(caught.value.failed) == [2, 3]
        assert queue.shows(ready=3)

    @needs_bounds
    def test_a_publish_larger_than_the_queue_passes_through_it(self, driver: Driver) -> None:
        queue = self.bounded(driver, max_length=3)
        bodies = [b"%d" % n for n in range(20)]
        publisher = gevent.spawn(queue.publish, *bodies, timeout=100 * self.unit)
        assert queue.attach(credit=2).drain(20) == bodies
        publisher.get(timeout=self.patience.must)

    @needs_bounds
    def test_a_release_finds_room_in_a_full_queue(self, driver: Driver) -> None:
        queue = self.bounded(driver, max_length=1)
        queue.publish(b"a")
        delivery = queue.attach(credit=1).receive()
        queue.detach()
        queue.publish(b"b")
        delivery.release(0.0, charged=True)
        assert queue.shows(ready=2)
        with pytest.raises(QueueFull):
            queue.publish(b"c", timeout=0.0)

    @needs_bounds
    def test_messages_in_flight_leave_room(self, driver: Driver) -> None:
        queue = self.bounded(driver, max_length=1)
        inbox = queue.attach(credit=3)
        for _ in range(3):
            queue.publish(b"m", timeout=self.patience.must)
            inbox.receive()
        assert queue.shows(ready=0, in_flight=3)

    # What operators see

    def test_info_adds_up_through_the_life_of_a_queue(self, queue: QueueProbe) -> None:
        assert queue.shows(ready=0)
        queue.publish(b"a", b"b", b"c")
        assert queue.shows(ready=3)
        inbox = queue.attach(credit=2)
        first, second = inbox.receive_many(2)
        assert queue.shows(ready=1, in_flight=2)
        queue.detach()
        first.ack()
        assert queue.shows(ready=1, in_flight=1)
        second.release(self.unit, charged=True)
        assert queue.shows(ready=1, delayed=1)
        self.advance(self.unit)
        assert queue.shows(ready=2)

    def test_the_age_of_the_oldest_message_grows_until_it_is_settled(self, driver: Driver) -> None:
        queue = self.declare(driver)
        assert queue.info().oldest_age is None
        # The driver's own time is not known here, so ages are compared with one another.
        driver.publish(queue.id, [make_message(published_at=100.0)])
        driver.publish(queue.id, [make_message(published_at=160.0)])
        if not self.capabilities.exact_info:
            return
        older = queue.info().oldest_age
        queue.attach(credit=1).receive().ack()
        newer = queue.info().oldest_age
        assert older is not None
        assert newer is not None
        assert older - newer == pytest.approx(60.0, abs=5.0)

    def test_peek_shows_ready_messages_in_order_and_changes_nothing(
        self, driver: Driver, queue: QueueProbe
    ) -> None:
        published = queue.publish(b"a", b"b", b"c")
        if not self.capabilities.browse:
            with pytest.raises(WippyError) as caught:
                driver.peek(queue.id, 2)
            assert caught.value.kind is Kind.INVALID
            return
        assert [m.body for m in driver.peek(queue.id, 2)] == [b"a", b"b"]
        assert driver.peek(queue.id, 10) == published
        delivery = queue.attach().receive()
        assert (delivery.message.body, delivery.attempt) == (b"a", 1)

    def test_browse_shows_all_that_is_ready_in_the_order_of_delivery(
        self, driver: Driver, queue: QueueProbe
    ) -> None:
        if not self.capabilities.browse:
            with pytest.raises(WippyError) as caught:
                driver.browse(queue.id)
            assert caught.value.kind is Kind.INVALID
            return
        assert list(driver.browse(queue.id)) == []
        published = queue.publish(*[b"%d" % n for n in range(250)])
        if self.capabilities.priority:
            published[:0] = queue.publish(b"a", b"b", headers={"priority": 5})
        held = driver.take(queue.id, 1)
        assert [seen.message for seen in driver.browse(queue.id)] == published[1:]
        held[0].ack()
        assert queue.shows(ready=len(published) - 1)

    def test_browsing_goes_on_while_what_was_seen_is_settled(
        self, driver: Driver, queue: QueueProbe
    ) -> None:
        if not self.capabilities.browse:
            return
        published = queue.publish(*[b"%d" % n for n in range(60)])
        found = []
        for seen in driver.browse(queue.id):
            found.append(seen.message)
            [delivery] = driver.pick(queue.id, [seen])
            delivery.ack()
        assert found == published
        assert queue.shows(ready=0)

    def test_picked_messages_come_from_among_others_which_stay_as_they_are(
        self, driver: Driver, queue: QueueProbe
    ) -> None:
        if not self.capabilities.browse:
            with pytest.raises(WippyError) as caught:
                driver.pick(queue.id, [])
            assert caught.value.kind is Kind.INVALID
            return
        queue.publish(*[b"%d" % n for n in range(6)])
        seen = list(driver.browse(queue.id))
        acked, released, moved = driver.pick(queue.id, [seen[1], seen[3], seen[4]])
        assert [d.message.body for d in (acked, released, moved)] == [b"1", b"3", b"4"]
        assert {d.attempt for d in (acked, released, moved)} == {1}
        assert queue.shows(ready=3, in_flight=3)
        assert driver.pick(queue.id, seen[3:5]) == []
        other = self.declare(driver)
        acked.ack()
        released.release(0.0, charged=True)
        moved.move(other.id, moved.message)
        inbox = queue.attach(credit=1)
        deliveries = []
        for _ in range(4):
            deliveries.append(inbox.receive())
            deliveries[-1].ack()
        assert [(d.message.body, d.attempt) for d in deliveries] == [
            (b"0", 1),
            (b"2", 1),
            (b"5", 1),
            (b"3", 2),
        ]
        assert other.attach().drain(1) == [b"4"]
        assert driver.pick(queue.id, seen) == []

    def test_a_picked_message_goes_back_with_its_priority_and_its_end(
        self, driver: Driver, queue: QueueProbe
    ) -> None:
        if not (self.capabilities.browse and self.capabilities.priority):
            return
        queue.publish(b"low")
        queue.publish(b"high", headers={"priority": 7}, ttl=10 * self.unit)
        picked = driver.pick(queue.id, list(driver.browse(queue.id))[:1])
        picked[0].release(0.0, charged=False)
        assert queue.shows(ready=2)
        again = driver.take(queue.id, 1)[0]
        assert (again.message.body, again.attempt) == (b"high", 1)
        again.release(0.0, charged=False)
        driver.flush(queue.id)
        self.advance(10 * self.unit)
        assert queue.attach().drain(1) == [b"low"]
        assert queue.shows(ready=0)

    def test_a_flush_returns_when_the_broker_knows_what_was_settled(
        self, driver: Driver, queue: QueueProbe
    ) -> None:
        driver.flush(queue.id)
        queue.publish(b"a", b"b", b"c")
        acked, released, moved = driver.take(queue.id, 3)
        other = self.declare(driver)
        acked.ack()
        released.release(0.0, charged=False)
        moved.move(other.id, moved.message)
        driver.flush(queue.id)
        assert queue.shows(ready=1)
        assert other.shows(ready=1)

    def test_taken_messages_are_in_flight_until_settled(
        self, driver: Driver, queue: QueueProbe
    ) -> None:
        queue.publish(b"a", b"b", b"c")
        first, second = driver.take(queue.id, 2)
        assert queue.shows(ready=1, in_flight=2)
        first.ack()
        second.release(0.0, charged=True)
        assert queue.shows(ready=2)
        again = driver.take(queue.id, 10)
        assert sorted((d.message.body, d.attempt) for d in again) == [(b"b", 2), (b"c", 1)]
        assert driver.take(queue.id, 10) == []

    def test_purge_removes_what_waits_and_not_what_is_in_flight(
        self, driver: Driver, queue: QueueProbe
    ) -> None:
        queue.publish(b"a", b"b", b"c")
        inbox = queue.attach(credit=1)
        held = inbox.receive()
        delayed = 0
        if self.capabilities.delay:
            queue.publish(b"d", delay=100 * self.unit)
            delayed = 1
        reached = delayed if self.purges_delayed else 0
        assert driver.purge(queue.id) == 2 + reached
        assert queue.shows(ready=0, in_flight=1, delayed=delayed - reached)
        held.release(0.0, charged=True)
        assert inbox.receive().message.body == b"a"

    @needs_bounds
    def test_purge_lets_waiting_publishers_in(self, driver: Driver) -> None:
        queue = self.bounded(driver, max_length=1)
        queue.publish(b"a")
        publisher = gevent.spawn(queue.publish, b"b", timeout=100 * self.unit)
        gevent.sleep(0)
        driver.purge(queue.id)
        publisher.get(timeout=self.patience.must)
        assert queue.attach().drain(1) == [b"b"]

    # Stopping and leases

    def test_messages_outlive_a_restart_of_the_driver(self, driver: Driver) -> None:
        config = self.config()
        driver.declare_queue(config)
        queue = QueueProbe(driver, config.id, self.patience)
        queue.publish(b"m")
        driver.stop()
        driver.start()
        driver.declare_queue(config)
        assert queue.shows(ready=1 if self.survives_restart else 0)

    def test_what_was_unsettled_at_a_stop_comes_back(self, driver: Driver) -> None:
        config = self.config()
        driver.declare_queue(config)
        queue = QueueProbe(driver, config.id, self.patience)
        queue.publish(b"m")
        held = queue.attach().receive()
        driver.stop()
        held.ack()  # Too late, and harmless.
        driver.start()
        driver.declare_queue(config)
        if not self.survives_restart:
            return
        if self.lease:
            self.advance(self.lease + self.unit)
        again = queue.attach().receive()
        assert (again.message.body, again.attempt) == (b"m", 2)

    def test_a_driver_is_connected_from_its_start_to_its_stop(self, driver: Driver) -> None:
        assert driver.connected
        driver.stop()
        assert not driver.connected
        driver.start()
        assert driver.connected
        assert driver.reconnects == 0  # a restart is no loss

    def test_an_attachment_is_connected_until_it_is_detached(self, queue: QueueProbe) -> None:
        queue.attach()
        [attachment] = queue.attachments
        assert eventually(lambda: attachment.connected, queue.patience)
        attachment.detach()
        assert not attachment.connected

    def test_a_stop_of_the_driver_disconnects_its_attachments(
        self, driver: Driver, queue: QueueProbe
    ) -> None:
        queue.attach()
        [attachment] = queue.attachments
        driver.stop()
        assert not attachment.connected

    def test_stopping_twice_is_quiet_and_a_stopped_driver_refuses(
        self, driver: Driver, queue: QueueProbe
    ) -> None:
        driver.stop()
        driver.stop()
        with pytest.raises(WippyError) as caught:
            queue.publish(b"m", timeout=self.unit)
        assert caught.value.kind is Kind.UNAVAILABLE
        driver.start()

    def test_extend_keeps_a_delivery_longer_than_its_lease(self, queue: QueueProbe) -> None:
        queue.publish(b"m")
        inbox = queue.attach()
        delivery = inbox.receive()
        delivery.extend(3 * self.lease)
        self.advance(2 * self.lease)
        assert inbox.is_quiet()
        delivery.ack()
        assert queue.shows(ready=0)

    # Volume

    def test_every_message_arrives_once_under_concurrency(self, queue: QueueProbe) -> None:
        bodies = [b"%d" % n for n in range(500)]
        inboxes = [queue.attach(credit=5) for _ in range(4)]
        received: list[bytes] = []

        def consume(inbox: Inbox) -> None:
            while True:
                delivery = inbox.receive()
                gevent.sleep(0)
                received.append(delivery.message.body)
                delivery.ack()

        consumers = [gevent.spawn(consume, inbox) for inbox in inboxes]
        publishers = [gevent.spawn(queue.publish, *bodies[n::5]) for n in range(5)]
        try:
            gevent.joinall(publishers, timeout=self.patience.must, raise_error=True)
            assert eventually(lambda: len(received) == len(bodies), self.patience)
        finally:
            gevent.killall(consumers)
        assert sorted(received) == sorted(bodies)
        assert queue.shows(ready=0)
