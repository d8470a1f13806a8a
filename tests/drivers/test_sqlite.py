"""The SQLite driver: the conformance suite, and what only this driver promises."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gevent
import pytest

from wippy_lua.errors import Kind, QueueFull, WippyError
from wippy_lua.log import NullLog
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.driver import Driver
from wippy_lua.queue.drivers.sqlite import SqliteDriver
from wippy_lua.queue.message import BINARY, JSON, TEXT, Delivery
from wippy_lua.testing import DriverSuite, QueueProbe, VirtualClock
from wippy_lua.testing.probe import Patience, make_message

LEASE = 30.0
QUICK = Patience(must=10.0, never=0.03)


def let_disk_rest(driver: Driver) -> None:
    """Returns when all that was begun is on the disk: a job's turn comes after what came before."""
    assert isinstance(driver, SqliteDriver)
    gevent.sleep(0)
    for _ in range(2):
        driver._serving.call(lambda _transaction: None)


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


class Place:
    """A file, and drivers of it that each believe to be a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "data" / "queue.db"
        self.clock = VirtualClock()
        self._drivers: list[SqliteDriver] = []

    def driver(self, clock: VirtualClock | None = None, lease: float = LEASE) -> SqliteDriver:
        driver = SqliteDriver(self.file, clock or self.clock, NullLog(), lease=lease)
        driver.start()
        self._drivers.append(driver)
        return driver

    def execute(self, *statements: str) -> list[tuple[Any, ...]]:
        """Does what another program would do to the file; returns the rows of the last."""
        with closing(sqlite3.connect(self.file, isolation_level=None)) as db:
            return [db.execute(statement).fetchall() for statement in statements][-1]

    def stop(self) -> None:
        for driver in self._drivers:
            driver.stop()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    place.stop()


def declare(driver: SqliteDriver, name: str = "tasks", **options: object) -> QueueProbe:
    driver.declare_queue(QueueConfig(f"app:{name}", "app:sqlite", name, options=options))
    return QueueProbe(driver, f"app:{name}", QUICK)


def advance(place: Place, seconds: float, *drivers: SqliteDriver) -> None:
    for driver in drivers:
        let_disk_rest(driver)
    place.clock.advance(seconds)


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


# When the disk refuses


def catch(function: Callable[[], object]) -> WippyError:
    """Returns the error that a function raises."""
    with pytest.raises(WippyError) as caught:
        function()
    return caught.value


def refuse_writes(driver: SqliteDriver, pragma: str) -> None:
    """Changes a setting of the driver's own connection."""
    session = driver._serving
    session._pool.apply(session._store._db.execute, (f"PRAGMA {pragma}",))


@pytest.mark.parametrize(
    ("fault", "repair"),
    [
        ("query_only = on", "query_only = off"),
        ("max_page_count = 1", "max_page_count = 1000000"),
    ],
    ids=["read-only", "full disk"],
)
def test_a_publish_fails_while_the_disk_refuses_and_settlements_are_kept(
    place: Place, fault: str, repair: str
) -> None:
    driver = place.driver()
    queue = declare(driver)
    queue.publish(b"a" * 5000)
    inbox = queue.attach(credit=1)
    held = inbox.receive()
    refuse_writes(driver, fault)
    with pytest.raises(WippyError, match=r"queue\.db") as caught:
        queue.publish(b"b" * 5000)
    assert (caught.value.kind, caught.value.retryable) == (Kind.UNAVAILABLE, True)
    held.ack()
    refuse_writes(driver, repair)
    queue.publish(b"c")
    assert inbox.drain(1) == [b"c"]
    assert queue.shows(ready=0)


def test_a_file_that_stays_locked_fails_a_publish_after_its_timeout(place: Place) -> None:
    driver = place.driver()
    queue = declare(driver)
    with closing(sqlite3.connect(place.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        publisher = gevent.spawn(catch, lambda: queue.publish(b"late", timeout=2.0))
        gevent.sleep(0.01)
        place.clock.advance(2.0)
        error = publisher.get(timeout=5)
        assert "not written within 2s" in error.message
        assert (error.kind, error.retryable) == (Kind.TIMEOUT, True)
        waiting = gevent.spawn(queue.publish, b"in time")
        gevent.sleep(0.01)
    waiting.get(timeout=5)
    assert queue.attach().drain(1) == [b"in time"]


def test_a_message_that_cannot_be_stored_fails_alone(place: Place) -> None:
    driver = place.driver()
    queue = declare(driver)
    with pytest.raises(WippyError) as caught:
        driver.publish(queue.id, [make_message(headers={"key": "\ud800"})])
    assert caught.value.kind is Kind.INVALID
    queue.publish(b"m")
    assert queue.shows(ready=1)


# The file


def test_a_file_of_a_newer_format_is_refused(place: Place) -> None:
    place.driver().stop()
    place.execute("PRAGMA user_version = 2")
    with pytest.raises(WippyError, match=r"format 2, .* reads 1: upgrade") as caught:
        place.driver()
    assert caught.value.kind is Kind.INVALID


def test_the_database_of_another_program_is_left_alone(place: Place) -> None:
    place.file.parent.mkdir()
    place.execute("CREATE TABLE theirs (x)")
    with pytest.raises(WippyError, match="another program"):
        place.driver()
    assert place.execute("SELECT name FROM sqlite_master") == [("theirs",)]


def test_a_file_that_is_no_database_is_refused(place: Place) -> None:
    place.file.parent.mkdir()
    place.file.write_text("dear diary, " * 100)
    with pytest.raises(WippyError, match="not an SQLite file"):
        place.driver()


def test_a_folder_that_cannot_be_made_is_unavailable(place: Place) -> None:
    place.file.parent.write_text("a file where a folder should be")
    with pytest.raises(WippyError, match=r"queue\.db") as caught:
        place.driver()
    assert caught.value.kind is Kind.UNAVAILABLE


def test_another_program_publishes_through_the_inbox(place: Place) -> None:
    driver = place.driver()
    queue = declare(driver)
    inbox = queue.attach(credit=1)
    place.execute(
        """INSERT INTO inbox(queue, body) VALUES ('tasks', '{"id": 1}')""",
        "INSERT INTO inbox(queue, body) VALUES ('tasks', 'grüße'), ('tasks', x'00ff')",
        """INSERT INTO inbox(queue, body, content_type, headers) VALUES
           ('tasks', 'x', 'text/x', '{"priority": 9, "whole": 1.0, "yes": true, "deep": [1]}')""",
    )
    place.clock.advance(1.0)
    received = []
    for _ in range(4):
        delivery = inbox.receive()
        received.append((delivery.message.body, delivery.message.content_type))
        if delivery.message.headers:
            assert repr(delivery.message.headers) == "{'priority': 9, 'whole': 1.0, 'yes': True}"
        delivery.ack()
    assert received == [
        (b"x", "text/x"),
        (b'{"id": 1}', JSON),
        ("grüße".encode(), TEXT),
        (b"\x00\xff", BINARY),
    ]
    assert queue.shows(ready=0)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ("'nowhere', 'x', NULL", "no such queue"),
        ("'tasks', 'x', '[1]'", "not a JSON object"),
        ("'tasks', 'x', '{'", "not a JSON object"),
        ("'small', 'x', NULL", "full"),
    ],
)
def test_the_inbox_refuses_what_cannot_be_delivered(place: Place, values: str, why: str) -> None:
    driver = place.driver()
    declare(driver)
    declare(driver, "small", max_length=1).publish(b"m")
    with pytest.raises(sqlite3.IntegrityError, match=why):
        place.execute(f"INSERT INTO inbox(queue, body, headers) VALUES ({values})")  # noqa: S608


def test_counts_agree_with_the_messages_after_much_coming_and_going(place: Place) -> None:
    driver = place.driver()
    queues = [declare(driver, f"q{n}") for n in range(3)]
    chance = random.Random(1)
    held: list[Delivery] = []
    for _ in range(300):
        queue = chance.choice(queues)
        match chance.randrange(8):
            case 0 | 1 | 2:
                delay, ttl = chance.choice([0.0, 2.0]), chance.choice([None, 1.0, 3.0])
                queue.publish(b"m", delay=delay, ttl=ttl)
            case 3 | 4:
                held += driver.take(queue.id, 2)
            case 5 | 6 if held:
                settle_somehow(held.pop(chance.randrange(len(held))), queue.id, chance)
            case _:
                advance(place, 0.5, driver)
    let_disk_rest(driver)
    counted = place.execute("SELECT id, ready, delayed, in_flight FROM queues ORDER BY id")
    there = place.execute(
        "SELECT queue, sum(state = 0), sum(state = 1), sum(state = 2) FROM messages"
        " GROUP BY queue ORDER BY queue"
    )
    assert counted == there
    assert place.execute("SELECT count(*) FROM contents") == [(sum(map(sum_of_counts, there)),)]


def sum_of_counts(row: tuple[int, ...]) -> int:
    return sum(row[1:])


def settle_somehow(delivery: Delivery, queue: str, chance: random.Random) -> None:
    match chance.randrange(3):
        case 0:
            delivery.ack()
        case 1:
            delivery.release(chance.choice([0.0, 1.0]), charged=chance.random() < 0.5)
        case _:
            delivery.move(queue, delivery.message)


@pytest.mark.parametrize("verb", ["publish", "claim", "ack", "sweep"])
def test_no_statement_searches_through_all_messages(place: Place, verb: str) -> None:
    driver = place.driver()
    queue = declare(driver)
    queue.publish(b"ready")
    queue.publish(b"delayed", delay=1.0)
    session = driver._serving
    statements: list[str] = []
    session._store._db.set_trace_callback(statements.append)
    match verb:
        case "publish":
            queue.publish(b"m", ttl=5.0)
        case "claim":
            driver.take(queue.id, 1)
        case "ack":
            driver.take(queue.id, 1)[0].ack()
        case "sweep":
            advance(place, 1.0, driver)
    let_disk_rest(driver)
    session._store._db.set_trace_callback(None)
    plans = [
        (statement, row[3])
        for statement in statements
        if statement.startswith(("SELECT", "UPDATE", "DELETE"))
        for row in place.execute(f"EXPLAIN QUERY PLAN {statement}")
    ]
    assert plans
    large = [p for p in plans if p[1].startswith(("SCAN m", "SCAN c", "USE TEMP B-TREE FOR ORDER"))]
    assert not large
