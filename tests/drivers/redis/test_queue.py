"""What only the redis driver promises of a queue: foreign messages, wake-ups, expiry, leases."""

from __future__ import annotations

import random
import time
from typing import Any

import gevent
import pytest
import redis
from gevent.queue import SimpleQueue

from tests.drivers.redis.support import LEASE, NAMES, PATIENCE, base_of, declare, settle_down
from wippy_lua.queue.drivers.redis.driver import RedisDriver
from wippy_lua.queue.drivers.redis.reader import LONGEST_READ, READ_MESSAGES
from wippy_lua.queue.message import JSON, TEXT, Delivery, Header
from wippy_lua.testing.probe import eventually

pytestmark = pytest.mark.network


# Reading


def test_handlers_begin_before_all_of_a_credit_is_read(driver: RedisDriver) -> None:
    (queue,) = declare(driver)
    queue.publish(*(str(n).encode() for n in range(2 * READ_MESSAGES)))
    inbox: SimpleQueue[Delivery] = SimpleQueue()
    driver.attach(queue.id, 4 * READ_MESSAGES, inbox)
    received = [inbox.get(timeout=PATIENCE.must)]
    # The rest is on its way while these are handled.
    assert inbox.qsize() == READ_MESSAGES - 1
    while len(received) < 2 * READ_MESSAGES:
        received.append(inbox.get(timeout=PATIENCE.must))
    assert [int(delivery.message.body) for delivery in received] == list(range(2 * READ_MESSAGES))


def test_a_message_at_a_time_costs_one_read(driver: RedisDriver, client: redis.Redis) -> None:
    (queue,) = declare(driver)
    inbox = queue.attach()
    settle_down()
    client.config_resetstat()
    for _ in range(40):
        queue.publish(b"x")
        inbox.receive().ack()
    driver.flush(queue.id)
    # The script publishes and acks; some rounds of leases may fall among these.
    assert client.info("commandstats")["cmdstat_evalsha"]["calls"] < 100


def test_what_is_due_comes_between_others_that_keep_coming(driver: RedisDriver) -> None:
    (queue,) = declare(driver)
    inbox = queue.attach()
    settle_down()
    queue.publish(b"late", delay=0.3)
    begin, found = time.monotonic(), b""
    while found != b"late":
        assert time.monotonic() - begin < LONGEST_READ / 2
        queue.publish(b"x")
        delivery = inbox.receive()
        found = delivery.message.body
        delivery.ack()


def test_what_expired_while_there_was_no_room_is_not_delivered(driver: RedisDriver) -> None:
    (queue,) = declare(driver)
    inbox = queue.attach(credit=1)
    settle_down()
    queue.publish(b"first")
    first = inbox.receive()
    queue.publish(b"short", ttl=0.05)
    queue.publish(b"last")
    gevent.sleep(0.1)
    first.ack()
    assert inbox.receive().message.body == b"last"


# Messages of other programs


def test_one_field_of_another_program_is_the_body(driver: RedisDriver, client: redis.Redis) -> None:
    (queue,) = declare(driver)
    client.xadd(base_of(queue), {"payload": '{"a": 1}'})
    message = queue.attach().receive().message
    assert (message.body, message.content_type, message.headers) == (b'{"a": 1}', TEXT, {})
    assert message.published_at == pytest.approx(time.time(), abs=60)


def test_fields_beside_a_body_are_headers(driver: RedisDriver, client: redis.Redis) -> None:
    (queue,) = declare(driver)
    fields: Any = {"body": b"\xff\x00", "content_type": JSON, "tenant": "t-1", "x_attempts": "7"}
    client.xadd(base_of(queue), fields)
    message = queue.attach().receive().message
    assert (message.body, message.content_type) == (b"\xff\x00", JSON)
    assert message.headers == {"tenant": "t-1"}


def test_several_fields_are_a_json_object(driver: RedisDriver, client: redis.Redis) -> None:
    (queue,) = declare(driver)
    client.xadd(base_of(queue), {"a": "1", "b": "x"})
    message = queue.attach().receive().message
    assert (message.body, message.content_type) == (b'{"a":"1","b":"x"}', JSON)


def test_a_foreign_message_keeps_its_id_and_counts_its_attempts(
    driver: RedisDriver, client: redis.Redis
) -> None:
    (queue,) = declare(driver)
    entry = client.xadd(base_of(queue), {"payload": "x"})
    inbox = queue.attach()
    for attempt in (1, 2, 3):
        delivery = inbox.receive()
        assert (delivery.message.id.encode(), delivery.attempt) == (entry, attempt)
        delivery.release(0.0, charged=True)


def test_a_body_arrives_whose_description_nobody_understands(
    driver: RedisDriver, client: redis.Redis
) -> None:
    (queue,) = declare(driver)
    client.xadd(base_of(queue), {"body": "x", "_meta": b"\xc1"})
    assert queue.attach().drain(1) == [b"x"]


@pytest.mark.parametrize(
    "fields",
    [
        {"_origin": b"\xff", "payload": "x"},
        {"_origin": "never", "payload": "x"},
        {"_origin": "9" * 400 + "-1", "payload": "x"},
        {"_attempts": "9" * 5000, "payload": "x"},
        {"_attempts": "many", "_expires": "never", "payload": "x"},
        {"_meta": b"\x95\x01\xa1\xff\xa1t\x80\xcb" + bytes(8), "body": "x"},
    ],
)
def test_fields_of_our_names_that_another_program_wrote_keep_nothing_up(
    driver: RedisDriver, client: redis.Redis, fields: Any
) -> None:
    (queue,) = declare(driver)
    client.xadd(base_of(queue), fields)
    age = queue.info().oldest_age
    assert age == pytest.approx(0, abs=60)
    queue.publish(b"next")
    inbox = queue.attach()
    delivery = inbox.receive()
    delivery.release(0.0, charged=True)
    assert sorted(inbox.drain(2)) == [b"next", b"x"]
    assert queue.shows(ready=0)
    assert queue.info().oldest_age is None


def test_messages_that_were_there_before_the_queue_are_delivered(
    driver: RedisDriver, client: redis.Redis
) -> None:
    name = next(NAMES)
    client.xadd(f"wippy:{{{name}}}", {"payload": "early"})
    (queue,) = declare(driver, name=name)
    assert queue.attach().drain(1) == [b"early"]


# Waking up


def test_a_waiting_reader_is_woken_by_any_priority(driver: RedisDriver, other: RedisDriver) -> None:
    queue, remote = declare(driver, other)
    inbox = queue.attach()
    settle_down()
    for priority in (9, 0, 3):
        began = time.monotonic()
        remote.publish(b"m", headers={"priority": priority})
        inbox.receive().ack()
        assert time.monotonic() - began < 1.0


def test_a_waiting_reader_learns_of_a_delay_that_another_process_gave(
    driver: RedisDriver, other: RedisDriver
) -> None:
    queue, remote = declare(driver, other)
    inbox = queue.attach()
    remote.publish(b"late", delay=60.0)
    settle_down()
    remote.publish(b"soon", delay=0.5)
    began = time.monotonic()
    assert inbox.receive().message.body == b"soon"
    assert 0.4 < time.monotonic() - began < 1.5


def test_a_delayed_message_finds_the_reader_that_is_free(
    driver: RedisDriver, other: RedisDriver
) -> None:
    queue, remote = declare(driver, other)
    busy = queue.attach(credit=1)
    queue.publish(b"later", delay=0.8)
    settle_down()
    queue.publish(b"now")
    holding = busy.receive()
    free = remote.attach(credit=1)
    settle_down()
    began = time.monotonic()
    assert free.receive().message.body == b"later"
    assert time.monotonic() - began < 2.0
    holding.ack()


def test_messages_delayed_together_come_in_their_order(driver: RedisDriver) -> None:
    (queue,) = declare(driver)
    bodies = [b"%d" % n for n in range(30)]
    queue.publish(*bodies, delay=0.2)
    assert queue.attach(credit=1).drain(30) == bodies


def test_more_messages_than_one_sweep_drops_expire_exactly(driver: RedisDriver) -> None:
    (queue,) = declare(driver)
    queue.publish(*[b"gone" * 500] * 5000, ttl=0.5)  # More than a sweep, more than a batch.
    queue.publish(b"kept")
    gevent.sleep(0.6)
    inbox = queue.attach()
    assert inbox.drain(1) == [b"kept"]
    assert inbox.is_quiet()
    assert queue.shows(ready=0)


def test_expired_messages_leave_the_server_though_nobody_looks(
    driver: RedisDriver, client: redis.Redis
) -> None:
    (queue,) = declare(driver)
    queue.publish(*[b"m"] * 10, ttl=0.1)
    assert client.xlen(base_of(queue)) == 10
    assert eventually(lambda: client.xlen(base_of(queue)) == 0, PATIENCE)
    assert client.zcard(f"{base_of(queue)}:expiry") == 0


def test_large_messages_come_a_few_at_a_time(driver: RedisDriver) -> None:
    (queue,) = declare(driver)
    bodies = [bytes([n]) * 2_000_000 for n in range(20)]
    for body in bodies:
        queue.publish(body)
    commands = driver._server.script("fetch", (base_of(queue),), "reader", 1000, "")
    reply: Any = driver._wire.ask(commands)
    assert len(reply[1]) == 8  # The size is not known before some are read.
    inbox = queue.attach(credit=100)
    assert sorted(inbox.drain(20)) == bodies  # The first ones once their lease has ended.


# Leases


def lose_leases(driver: RedisDriver) -> None:
    """Keeps a driver from extending its leases, as a process that hangs would."""
    greenlet = driver._keeper._greenlet
    assert greenlet is not None
    greenlet.kill()


def test_a_late_ack_does_not_touch_the_next_attempt(
    driver: RedisDriver, other: RedisDriver
) -> None:
    queue, remote = declare(driver, other)
    queue.publish(b"m")
    late = queue.attach().receive()
    queue.detach()
    lose_leases(driver)
    again = remote.attach().receive()
    assert (again.attempt, again.message.id) == (2, late.message.id)
    late.ack()
    assert queue.shows(ready=0, in_flight=1)
    again.release(0.0, charged=True)
    assert queue.shows(ready=0, in_flight=1)  # Delivered again, and not gone.


def test_a_late_release_or_move_changes_nothing(driver: RedisDriver, other: RedisDriver) -> None:
    queue, remote = declare(driver, other)
    (target,) = declare(driver)
    queue.publish(b"a", b"b")
    released, moved = queue.attach().receive_many(2)
    queue.detach()
    lose_leases(driver)
    assert sorted(remote.attach().drain(2)) == [b"a", b"b"]
    released.release(0.0, charged=True)
    moved.move(target.id, moved.message)
    assert queue.shows(ready=0)
    assert target.shows(ready=0)


def test_what_is_held_three_times_the_lease_is_delivered_once(
    driver: RedisDriver, other: RedisDriver
) -> None:
    queue, remote = declare(driver, other)
    queue.publish(*[b"m"] * 20, headers={"priority": 2})
    queue.publish(b"m")
    inbox = queue.attach(credit=30)
    held = inbox.receive_many(21)
    elsewhere = remote.attach()
    gevent.sleep(3 * LEASE)
    assert elsewhere.is_quiet()
    for delivery in held:
        delivery.ack()
    assert queue.shows(ready=0)
    assert elsewhere.is_quiet()


def test_what_an_operator_has_taken_keeps_its_lease(
    driver: RedisDriver, other: RedisDriver
) -> None:
    queue, remote = declare(driver, other)
    queue.publish(b"m")
    (taken,) = driver.take(queue.id, 1)
    elsewhere = remote.attach()
    gevent.sleep(2 * LEASE)
    assert elsewhere.is_quiet()
    taken.release(0.0, charged=False)
    assert elsewhere.receive().attempt == 1


def test_consumers_leave_no_names_on_the_server(
    driver: RedisDriver, other: RedisDriver, client: redis.Redis
) -> None:
    queue, remote = declare(driver, other)
    queue.publish(b"a", headers={"priority": 5})
    inbox = queue.attach()
    holding = inbox.receive()
    queue.detach()
    remote.attach()
    remote.detach()
    holding.ack()

    def names() -> list[object]:
        base = base_of(queue)
        keys = (base, f"{base}:5", f"{base}:bell")
        return [entry for key in keys for entry in client.xinfo_consumers(key, "wippy")]

    assert eventually(lambda: not names(), PATIENCE)


class Gambler:
    """Settles each delivery in a way that chance picks, and notes what has left for good."""

    def __init__(self, chance: random.Random, target: str, done: list[bytes]) -> None:
        self._chance = chance
        self._target = target
        self._done = done

    def put(self, item: Delivery) -> None:
        gevent.spawn(self._settle, item)

    def _settle(self, item: Delivery) -> None:
        gevent.sleep(self._chance.random() * 0.01)
        pick = self._chance.random()
        if pick < 0.4:
            self._done.append(item.message.body)
            item.ack()
        elif pick < 0.5:
            item.move(self._target, item.message)
        else:
            item.release(self._chance.choice((0.0, 0.01, 0.2)), charged=pick < 0.8)


def test_no_mixture_of_settlements_loses_or_repeats_a_message(
    driver: RedisDriver, other: RedisDriver
) -> None:
    chance = random.Random(7)
    queue, remote = declare(driver, other)
    target, _ = declare(driver, other)
    done: list[bytes] = []
    for consumer in (driver, other, driver):
        consumer.attach(queue.id, chance.randint(1, 20), Gambler(chance, target.id, done))
    bodies = [b"%d" % n for n in range(2000)]
    for start in range(0, len(bodies), 50):
        publisher = chance.choice((queue, remote))
        headers: dict[str, Header] = {"priority": chance.randint(0, 3)}
        delay = chance.choice((0.0, 0.0, 0.05, 0.3))
        publisher.publish(*bodies[start : start + 50], headers=headers, delay=delay)
    assert queue.shows(ready=0)
    moved = [delivery.message.body for delivery in driver.take(target.id, 2000)]
    assert moved
    assert sorted([*done, *moved]) == sorted(bodies)
