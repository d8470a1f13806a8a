"""The file of the SQLite driver: disks that refuse, other programs, formats, counts and costs."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from contextlib import closing

import gevent
import pytest

from tests.drivers.sqlite_place import Place, advance, declare, let_disk_rest
from wippy_lua.errors import Kind, WippyError
from wippy_lua.queue.drivers.sqlite.driver import SqliteDriver
from wippy_lua.queue.message import BINARY, JSON, TEXT, Delivery
from wippy_lua.testing.probe import make_message

# When the disk refuses


def catch(function: Callable[[], object]) -> WippyError:
    """Returns the error that a function raises."""
    with pytest.raises(WippyError) as caught:
        function()
    return caught.value


def set_pragma(driver: SqliteDriver, pragma: str) -> None:
    """Changes a setting of the driver's own connection."""
    session = driver._serving
    session._thread.run(session._store._db.execute, f"PRAGMA {pragma}")


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
    set_pragma(driver, fault)
    with pytest.raises(WippyError, match=r"queue\.db") as caught:
        queue.publish(b"b" * 50_000)
    assert (caught.value.kind, caught.value.retryable) == (Kind.UNAVAILABLE, True)
    held.ack()
    with pytest.raises(WippyError):  # The ack is tried along with this one.
        queue.publish(b"b" * 50_000)
    set_pragma(driver, repair)
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


def test_what_was_asked_for_while_a_file_is_locked_is_done_afterwards(place: Place) -> None:
    driver = place.driver()
    queue = declare(driver)
    queue.publish(b"acked")
    inbox = queue.attach()
    held = inbox.receive()
    set_pragma(driver, "busy_timeout = 1")
    with closing(sqlite3.connect(place.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        held.ack()
        publisher, asker = gevent.spawn(queue.publish, b"m"), gevent.spawn(queue.info)
        gevent.sleep(0.05)
        assert not publisher.ready()
        assert not asker.ready()
    publisher.get(timeout=5)
    asker.get(timeout=5)
    assert inbox.drain(1) == [b"m"]
    assert queue.shows(ready=0)


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
