"""The SQLite driver: the conformance suite, and what only this driver promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from tests.drivers.sqlite_place import LEASE, QUICK, Place, advance, declare, let_disk_rest
from tests.host.apps import make_host, wait_for
from wippy_lua.errors import ConfigError, Kind, QueueFull, WippyError
from wippy_lua.log import NullLog
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.driver import Driver
from wippy_lua.queue.drivers.sqlite.driver import SqliteDriver
from wippy_lua.queue.message import Message
from wippy_lua.testing import DriverSuite, VirtualClock


class TestConformance(DriverSuite):
    lease = LEASE
    patience = QUICK

    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[Driver]:
        self.clock = VirtualClock()
        self.current = driver = SqliteDriver(
            tmp_path / "queue.db", self.clock, NullLog(), synchronous="normal", lease=self.lease
        )
        driver.start()
        yield driver
        driver.stop()

    def advance(self, seconds: float) -> None:
        let_disk_rest(self.current)
        self.clock.advance(seconds)


# Declaring


def test_an_option_that_is_misspelt_is_named_with_the_one_that_was_meant(place: Place) -> None:
    with pytest.raises(WippyError, match="'maxlength'; did you mean 'max_length'") as caught:
        declare(place.driver(), maxlength=5)
    assert caught.value.kind is Kind.INVALID


def test_a_queue_has_no_bound_unless_it_is_given_one(place: Place) -> None:
    queue = declare(place.driver())
    queue.publish(*[b"m"] * 3000)
    assert queue.shows(ready=3000)


def test_a_bound_that_another_process_declared_otherwise_is_a_conflict(place: Place) -> None:
    declare(place.driver(), max_length=5)
    with pytest.raises(WippyError, match=r"max_length 5.*max_length none") as caught:
        declare(place.driver())
    assert caught.value.kind is Kind.CONFLICT


def test_one_id_cannot_have_two_names(place: Place) -> None:
    driver = place.driver()
    declare(driver)
    with pytest.raises(WippyError, match=r"'tasks'.*'other'") as caught:
        driver.declare_queue(QueueConfig("app:tasks", "app:sqlite", "other"))
    assert caught.value.kind is Kind.CONFLICT


def test_queues_are_known_again_after_a_restart_with_another_file(place: Place) -> None:
    driver = place.driver()
    declare(driver, "first")
    queue = declare(driver)
    driver.stop()
    place.file.unlink()
    driver.start()
    queue.publish(b"m")
    assert queue.attach().drain(1) == [b"m"]


# Publishing and delivering


def test_a_long_publish_passes_through_a_short_queue_to_a_patient_consumer(place: Place) -> None:
    queue = declare(place.driver(), max_length=3)
    inbox = queue.attach(credit=100)
    bodies = [b"%d" % n for n in range(20)]
    publisher = gevent.spawn(queue.publish, *bodies)
    assert [delivery.message.body for delivery in inbox.receive_many(20)] == bodies
    publisher.get(timeout=5)


def test_an_expiry_makes_room_for_a_waiting_publisher(place: Place) -> None:
    driver = place.driver()
    queue = declare(driver, max_length=1)
    queue.publish(b"a", ttl=3.0)
    publisher = gevent.spawn(queue.publish, b"b", timeout=5.0)
    advance(place, 3.0, driver)
    publisher.get(timeout=5)
    assert queue.attach().drain(1) == [b"b"]


def test_messages_released_with_the_same_delay_come_in_the_order_of_release(place: Place) -> None:
    driver = place.driver()
    queue = declare(driver)
    queue.publish(b"a", b"b")
    first, second = driver.take(queue.id, 2)
    second.release(1.0, charged=True)
    first.release(1.0, charged=True)
    advance(place, 1.0, driver)
    assert queue.attach().drain(2) == [b"b", b"a"]


def test_a_waiting_consumer_gets_a_delayed_message_though_nothing_else_happens(
    place: Place,
) -> None:
    driver = place.driver()
    queue = declare(driver)
    inbox = queue.attach()
    queue.publish(b"m", delay=2.0)
    place.clock.advance(2.0)
    assert inbox.drain(1) == [b"m"]


def test_what_comes_for_a_consumer_that_has_left_goes_back_uncharged(place: Place) -> None:
    driver = place.driver()
    queue = declare(driver)
    queue.publish(b"m")
    inbox = queue.attach()
    while driver._queues.find(queue.id).unread:  # until the claim is on its way
        gevent.sleep(0)
    queue.detach()
    assert queue.shows(ready=1)
    assert inbox.is_quiet()
    assert queue.attach().receive().attempt == 1


def test_consumers_with_credit_take_turns(place: Place) -> None:
    queue = declare(place.driver())
    inboxes = [queue.attach(credit=10) for _ in range(3)]
    queue.publish(*[b"%d" % n for n in range(6)])
    received = [[d.message.body for d in inbox.receive_many(2)] for inbox in inboxes]
    assert received == [[b"0", b"3"], [b"1", b"4"], [b"2", b"5"]]


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
def test_lists_of_any_length_are_stored_whole_and_in_order(place: Place, count: int) -> None:
    driver = place.driver()
    queue = declare(driver)
    messages = [
        Message(f"id-{n}", b"%d" % n, "text/plain", {"n": n} if n % 3 else {}, float(n))
        for n in range(count)
    ]
    driver.publish(queue.id, messages)
    assert [delivery.message for delivery in driver.take(queue.id, count + 1)] == messages


def test_large_bodies_among_small_ones_are_stored_in_order(place: Place) -> None:
    driver = place.driver()
    queue = declare(driver)
    bodies = [b"%d" % n * (400_000 if n % 4 == 1 else 1) for n in range(10)]
    queue.publish(*bodies)
    assert [delivery.message.body for delivery in driver.take(queue.id, 11)] == bodies


def test_publishers_in_one_transaction_each_keep_their_terms(place: Place) -> None:
    driver = place.driver()
    queue = declare(driver)
    publishers = [
        gevent.spawn(queue.publish, b"0"),
        gevent.spawn(queue.publish, b"1", ttl=5.0),
        gevent.spawn(queue.publish, b"2"),
        gevent.spawn(queue.publish, b"3", delay=1.0),
        gevent.spawn(queue.publish, b"4", delay=1.0, ttl=9.0),
        gevent.spawn(queue.publish, b"5", ttl=5.0),
    ]
    gevent.joinall(publishers, timeout=5, raise_error=True)
    assert queue.shows(ready=4, delayed=2)
    advance(place, 6.0, driver)
    assert queue.attach(credit=10).drain(4) == [b"0", b"2", b"3", b"4"]


# Several processes


def test_processes_that_start_at_once_create_one_file(place: Place) -> None:
    starts = [gevent.spawn(place.driver) for _ in range(6)]
    gevent.joinall(starts, timeout=20, raise_error=True)
    queues = [declare(start.get()) for start in starts]
    queues[0].publish(b"m")
    assert all(queue.shows(ready=1) for queue in queues)


def test_a_consumer_gets_what_another_process_publishes(place: Place) -> None:
    here, there = declare(place.driver()), declare(place.driver())
    inbox = here.attach()
    assert inbox.is_quiet()
    there.publish(b"m")
    place.clock.advance(1.0)
    assert inbox.drain(1) == [b"m"]
    assert there.shows(ready=0)


def test_consumers_of_two_processes_share_a_queue(place: Place) -> None:
    here, there = declare(place.driver()), declare(place.driver())
    bodies = [b"%d" % n for n in range(20)]
    here.publish(*bodies)
    received = [d for queue in (here, there) for d in queue.attach(credit=10).receive_many(10)]
    assert sorted(d.message.body for d in received) == sorted(bodies)
    assert here.shows(ready=0, in_flight=20)


def test_a_bound_holds_for_all_processes_together(place: Place) -> None:
    drivers = place.driver(), place.driver()
    here, there = (declare(driver, max_length=2) for driver in drivers)
    here.publish(b"a", b"b")
    publisher = gevent.spawn(there.publish, b"c", timeout=100.0)
    advance(place, 0.0, *drivers)
    with pytest.raises(QueueFull):
        there.publish(b"barging", timeout=0.0)
    assert here.attach(credit=1).drain(1) == [b"a"]
    advance(place, 1.0, *drivers)
    publisher.get(timeout=5)


def test_a_delayed_message_of_another_process_comes_when_it_is_due(place: Place) -> None:
    drivers = place.driver(), place.driver()
    here, there = (declare(driver) for driver in drivers)
    inbox = here.attach()
    there.publish(b"m", delay=5.0)
    advance(place, 1.0, *drivers)
    assert inbox.is_quiet()
    advance(place, 4.0, *drivers)
    assert inbox.drain(1) == [b"m"]


# Leases


def test_a_lost_process_loses_its_messages_after_the_lease_and_cannot_settle_them(
    place: Place,
) -> None:
    # A process whose clock stands still is one that was stopped, or hangs.
    here, there = place.driver(VirtualClock()), place.driver()
    lost, safe = declare(here), declare(there)
    lost.publish(b"acked", b"released", b"moved", b"extended")
    held = lost.attach().receive_many(4)
    inbox = safe.attach()
    advance(place, LEASE - 1.0, there)
    assert inbox.is_quiet()
    advance(place, 1.5, there)
    again = inbox.receive_many(4)
    assert [delivery.attempt for delivery in again] == [2, 2, 2, 2]
    held[0].ack()
    held[1].release(0.0, charged=False)
    held[2].move(lost.id, held[2].message)
    held[3].extend(1000.0)
    let_disk_rest(here)
    assert safe.shows(ready=0, in_flight=4)
    for delivery in again:
        delivery.ack()
    assert safe.shows(ready=0)


def test_a_process_that_lost_its_lease_goes_on_with_a_new_one(place: Place) -> None:
    clock = VirtualClock()
    here, there = place.driver(clock), place.driver()
    lost, safe = declare(here), declare(there)
    lost.publish(b"a")
    inbox = lost.attach()
    inbox.receive()
    advance(place, LEASE + 1.0, there)
    assert safe.attach(credit=1).drain(1) == [b"a"]
    safe.detach()
    clock.advance(LEASE + 1.0)  # It wakes up.
    lost.publish(b"b")
    assert inbox.receive().message.body == b"b"
    advance(place, 3 * LEASE, there)  # With nobody to renew it, the new lease runs out as well.
    assert safe.attach().receive().attempt == 2


def test_a_message_is_kept_for_as_long_as_its_process_lives(place: Place) -> None:
    drivers = place.driver(), place.driver()
    here, there = (declare(driver) for driver in drivers)
    here.publish(b"m")
    held = here.attach().receive()
    inbox = there.attach()
    for _ in range(9):
        advance(place, LEASE / 3, *drivers)
    assert inbox.is_quiet()
    held.ack()
    assert there.shows(ready=0)


def test_only_the_message_that_was_extended_outlives_the_lease(place: Place) -> None:
    here, there = place.driver(VirtualClock()), place.driver()
    lost, safe = declare(here), declare(there)
    lost.publish(b"plain", b"extended")
    lost.attach().receive_many(2)[1].extend(5 * LEASE)
    let_disk_rest(here)
    inbox = safe.attach()
    advance(place, LEASE + 1.0, there)
    assert inbox.drain(1) == [b"plain"]
    advance(place, 3 * LEASE, there)
    assert inbox.is_quiet()
    advance(place, 2 * LEASE, there)
    assert inbox.drain(1) == [b"extended"]


# Stopping


def test_a_stop_writes_what_was_settled_and_gives_back_the_rest(place: Place) -> None:
    driver = place.driver()
    queue = declare(driver)
    queue.publish(b"acked", b"released", b"held")
    acked, released, _held = queue.attach().receive_many(3)
    acked.ack()
    released.release(0.0, charged=False)
    driver.stop()
    received = declare(place.driver()).attach().receive_many(2)
    assert [(d.message.body, d.attempt) for d in received] == [(b"released", 1), (b"held", 2)]


def test_stopping_fails_a_waiting_publisher_at_once(place: Place) -> None:
    driver = place.driver()
    queue = declare(driver, max_length=1)
    queue.publish(b"a")
    publisher = gevent.spawn(queue.publish, b"b")
    let_disk_rest(driver)
    driver.stop()
    with pytest.raises(WippyError, match="not started") as caught:
        publisher.get(timeout=5)
    assert caught.value.kind is Kind.UNAVAILABLE


def test_a_publisher_that_was_killed_publishes_nothing_later(place: Place) -> None:
    driver = place.driver()
    queue = declare(driver, max_length=1)
    queue.publish(b"a")
    publisher = gevent.spawn(queue.publish, b"b")
    let_disk_rest(driver)
    publisher.kill()
    assert queue.attach().drain(1) == [b"a"]
    assert queue.shows(ready=0)


def test_a_stopped_driver_leaves_one_tidy_file(place: Place) -> None:
    driver = place.driver()
    declare(driver).publish(b"m")
    driver.stop()
    assert [path.name for path in place.file.parent.iterdir()] == ["queue.db"]


# In a host

APP = """
- {name: db, kind: queue.driver.sqlite}
- {name: tasks, kind: queue.queue, driver: db, dead_letter: {queue: dead, max_attempts: 2}}
- {name: dead, kind: queue.queue, driver: db}
- name: consumer
  kind: queue.consumer
  queue: tasks
  func: handler
  retry: {initial_delay: 10ms}
  lifecycle: {auto_start: true}
- name: handler
  kind: function.lua
  source: |
    return function(body)
      if body.bad then error("bad") end
    end
"""


def test_a_host_keeps_its_queues_in_a_file_beside_its_entries(tmp_path: Path) -> None:
    with make_host(tmp_path, APP) as host:
        host.publish("app:tasks", {"bad": True})
        wait_for(lambda: host.info("app:dead").ready == 1)
        host.publish("app:tasks", {"bad": False})
        wait_for(lambda: host.info("app:tasks").message_count == 0)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["queue.db"]
    with make_host(tmp_path, APP) as host:
        assert host.info("app:dead").ready == 1


@pytest.mark.parametrize("field", ["lease: 10ms", "synchronous: never", "files: x.db", "file: ''"])
def test_a_field_out_of_range_is_a_problem_of_the_app(tmp_path: Path, field: str) -> None:
    with pytest.raises(ConfigError, match=field.partition(":")[0]):
        make_host(tmp_path, f"- {{name: db, kind: queue.driver.sqlite, {field}}}")
