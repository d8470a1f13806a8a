"""The memory driver: the conformance suite, and what only this driver promises."""

from __future__ import annotations

from collections.abc import Iterator

import gevent
import pytest

from wippy_lua.errors import Kind, QueueFull, WippyError
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.driver import Capabilities, Driver
from wippy_lua.queue.drivers.memory.driver import MemoryDriver
from wippy_lua.queue.message import Delivery
from wippy_lua.testing import DriverSuite, QueueProbe, VirtualClock
from wippy_lua.testing.clock import let_greenlets_run
from wippy_lua.testing.probe import Patience, make_message

QUICK = Patience(must=5.0, never=0.01)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def driver(clock: VirtualClock) -> Iterator[MemoryDriver]:
    driver = MemoryDriver(clock)
    driver.start()
    yield driver
    driver.stop()


class TestConformance(DriverSuite):
    capabilities = Capabilities(durable=False)
    patience = QUICK

    @pytest.fixture
    def driver(self, clock: VirtualClock) -> Iterator[Driver]:
        self.clock = clock
        driver = MemoryDriver(clock)
        driver.start()
        yield driver
        driver.stop()

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)


def declare(driver: MemoryDriver, name: str = "tasks", **options: object) -> QueueProbe:
    driver.declare_queue(QueueConfig(f"app:{name}", "app:memory", name, options=options))
    return QueueProbe(driver, f"app:{name}", QUICK)


class AckingSink:
    """Settles each delivery inside `put`, as a consumer with `auto_ack` does."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def put(self, item: Delivery) -> None:
        self.bodies.append(item.message.body)
        item.ack()


def test_an_option_that_is_misspelt_is_named_with_the_one_that_was_meant(
    driver: MemoryDriver,
) -> None:
    with pytest.raises(WippyError, match="'maxlength'; did you mean 'max_length'") as caught:
        declare(driver, maxlength=5)
    assert caught.value.kind is Kind.INVALID


def test_an_option_like_no_other_is_answered_with_what_there_is(driver: MemoryDriver) -> None:
    with pytest.raises(WippyError, match="no option 'durable'; it knows: max_length"):
        declare(driver, durable=True)


def test_the_default_bound_is_a_thousand_messages(driver: MemoryDriver) -> None:
    queue = declare(driver)
    queue.publish(*[b"m"] * 1000)
    with pytest.raises(QueueFull):
        queue.publish(b"m", timeout=0.0)


def test_stating_the_default_is_no_conflict(driver: MemoryDriver) -> None:
    declare(driver)
    declare(driver, max_length=1000)


def test_one_id_cannot_have_two_names(driver: MemoryDriver) -> None:
    declare(driver)
    with pytest.raises(WippyError, match=r"'tasks'.*'other'") as caught:
        driver.declare_queue(QueueConfig("app:tasks", "app:memory", "other"))
    assert caught.value.kind is Kind.CONFLICT


def test_waiting_publishers_are_served_in_their_order(driver: MemoryDriver) -> None:
    queue = declare(driver, max_length=1)
    queue.publish(b"0")
    publishers = [gevent.spawn(queue.publish, b"%d" % n) for n in (1, 2, 3)]
    let_greenlets_run()
    delivery = driver.take(queue.id, 1)[0]
    assert queue.shows(ready=1, in_flight=1)
    with pytest.raises(QueueFull):  # The room went to the first that waits, not to the next to ask.
        queue.publish(b"barging", timeout=0.0)
    delivery.ack()
    assert queue.attach(credit=1).drain(3) == [b"1", b"2", b"3"]
    gevent.joinall(publishers, timeout=5, raise_error=True)


def test_a_publisher_that_was_killed_publishes_nothing_later(driver: MemoryDriver) -> None:
    queue = declare(driver, max_length=1)
    queue.publish(b"a")
    publisher = gevent.spawn(queue.publish, b"b")
    let_greenlets_run()
    publisher.kill()
    assert queue.attach().drain(1) == [b"a"]
    assert queue.shows(ready=0)


def test_an_expiry_makes_room_for_a_waiting_publisher(
    driver: MemoryDriver, clock: VirtualClock
) -> None:
    queue = declare(driver, max_length=1)
    queue.publish(b"a", ttl=3.0)
    publisher = gevent.spawn(queue.publish, b"b", timeout=5.0)
    let_greenlets_run()
    clock.advance(3.0)
    publisher.get(timeout=5)
    assert queue.attach().drain(1) == [b"b"]


def test_a_message_that_expires_while_it_waits_for_room_is_not_delivered(
    driver: MemoryDriver, clock: VirtualClock
) -> None:
    queue = declare(driver, max_length=1)
    queue.publish(b"a")
    gevent.spawn(queue.publish, b"b", ttl=1.0)
    let_greenlets_run()
    clock.advance(2.0)
    assert queue.attach().drain(1) == [b"a"]
    assert queue.shows(ready=0)


def test_stopping_fails_a_waiting_publisher_at_once(driver: MemoryDriver) -> None:
    queue = declare(driver, max_length=1)
    queue.publish(b"a")
    publisher = gevent.spawn(queue.publish, b"b")
    let_greenlets_run()
    driver.stop()
    with pytest.raises(WippyError, match="not started") as caught:
        publisher.get(timeout=5)
    assert caught.value.kind is Kind.UNAVAILABLE


def test_delayed_messages_become_due_after_a_restart(
    driver: MemoryDriver, clock: VirtualClock
) -> None:
    queue = declare(driver)
    queue.publish(b"m", delay=5.0)
    driver.stop()
    clock.advance(10.0)
    driver.start()
    assert queue.attach().drain(1) == [b"m"]


def test_delays_go_on_after_a_restart(driver: MemoryDriver, clock: VirtualClock) -> None:
    queue = declare(driver)
    queue.publish(b"m", delay=5.0)
    driver.stop()
    driver.start()
    inbox = queue.attach()
    clock.advance(5.0)
    assert inbox.drain(1) == [b"m"]


def test_a_sink_may_settle_a_whole_backlog_as_it_comes(driver: MemoryDriver) -> None:
    queue = declare(driver, max_length=5000)
    bodies = [b"%d" % n for n in range(5000)]
    queue.publish(*bodies)
    sink = AckingSink()
    driver.attach(queue.id, 1, sink)
    queue.publish(b"last")
    assert sink.bodies == [*bodies, b"last"]
    assert queue.shows(ready=0)


def test_consumers_with_credit_take_turns(driver: MemoryDriver) -> None:
    queue = declare(driver)
    inboxes = [queue.attach(credit=10) for _ in range(3)]
    queue.publish(*[b"%d" % n for n in range(6)])
    received = [[d.message.body for d in inbox.receive_many(2)] for inbox in inboxes]
    assert received == [[b"0", b"3"], [b"1", b"4"], [b"2", b"5"]]


def publish_and_let_the_hub_lag(queue: QueueProbe, clock: VirtualClock) -> None:
    """Makes one message expired and one due, while the timer that would see to it has not run."""
    queue.publish(b"gone", ttl=1.0)
    queue.publish(b"due", delay=1.0)
    clock._now += 2.0


def test_counts_are_exact_before_the_timer_has_run(
    driver: MemoryDriver, clock: VirtualClock
) -> None:
    queue = declare(driver)
    publish_and_let_the_hub_lag(queue, clock)
    info = queue.info()
    assert (info.ready, info.delayed, info.message_count) == (1, 0, 1)


def test_operators_see_and_take_what_is_there_before_the_timer_has_run(
    driver: MemoryDriver, clock: VirtualClock
) -> None:
    looked, taken, purged = (declare(driver, name) for name in ("looked", "taken", "purged"))
    for queue in (looked, taken, purged):
        publish_and_let_the_hub_lag(queue, clock)
    assert [message.body for message in driver.peek(looked.id, 5)] == [b"due"]
    assert [delivery.message.body for delivery in driver.take(taken.id, 5)] == [b"due"]
    assert driver.purge(purged.id) == 1


def test_a_due_message_comes_before_one_that_is_published_later(
    driver: MemoryDriver, clock: VirtualClock
) -> None:
    queue = declare(driver)
    inbox = queue.attach()
    publish_and_let_the_hub_lag(queue, clock)
    assert queue.info().ready == 1
    queue.publish(b"fresh")
    assert inbox.drain(3) == [b"gone", b"due", b"fresh"]  # The first was delivered in time.


def test_room_that_only_the_clock_has_made_goes_to_the_publisher_that_waits(
    driver: MemoryDriver, clock: VirtualClock
) -> None:
    queue = declare(driver, max_length=1)
    queue.publish(b"gone", ttl=1.0)
    gevent.spawn(queue.publish, b"waited")
    let_greenlets_run()
    clock._now += 2.0
    assert queue.info().ready == 0
    with pytest.raises(QueueFull):
        queue.publish(b"barging", timeout=0.0)
    assert queue.attach().drain(1) == [b"waited"]


def test_messages_released_with_the_same_delay_come_in_the_order_of_release(
    driver: MemoryDriver, clock: VirtualClock
) -> None:
    queue = declare(driver)
    queue.publish(b"a", b"b")
    first, second = driver.take(queue.id, 2)
    second.release(1.0, charged=True)
    first.release(1.0, charged=True)
    clock.advance(1.0)
    assert queue.attach().drain(2) == [b"b", b"a"]


def test_the_oldest_message_is_found_when_it_came_last(
    driver: MemoryDriver, clock: VirtualClock
) -> None:
    queue = declare(driver)
    for age in (30.0, 50.0, 10.0):
        driver.publish(queue.id, [make_message(published_at=clock.time() - age)])
    ages = []
    for delivery in driver.take(queue.id, 3):
        ages.append(queue.info().oldest_age)
        delivery.ack()
    assert ages == [50.0, 50.0, 10.0]
    assert queue.info().oldest_age is None


def test_expired_messages_are_not_kept_in_memory(driver: MemoryDriver, clock: VirtualClock) -> None:
    queue = declare(driver, max_length=100)
    queue.publish(b"first and for ever")
    for _ in range(50):
        queue.publish(*[b"m"] * 50, ttl=1.0)
        clock.advance(1.0)
    waiting = driver._queues[queue.id]._ready._lanes[0]
    assert queue.shows(ready=1)
    assert len(waiting) < 200


def test_settled_messages_leave_no_expiries_behind(driver: MemoryDriver) -> None:
    queue = declare(driver)
    inbox = queue.attach()
    queue.publish(b"held", ttl=3000.0)
    inbox.receive()
    for _ in range(2000):
        queue.publish(b"m", ttl=3600.0)
        inbox.receive().ack()
    assert len(driver._queues[queue.id]._agenda._items) < 200


def test_a_flood_of_expiries_shares_timers(driver: MemoryDriver, clock: VirtualClock) -> None:
    queue = declare(driver)
    for _ in range(100):
        queue.publish(b"m", ttl=60.0)
    assert len(clock._timers) == 1
