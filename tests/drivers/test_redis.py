"""The redis driver: the conformance suite against a real server, and what only it promises."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import gevent
import pytest
import redis

from tests.drivers.redis_server import RedisServer
from wippy_lua.clock import SystemClock
from wippy_lua.errors import Kind, QueueNotFound, WippyError
from wippy_lua.log import Log, NullLog
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.driver import Driver
from wippy_lua.queue.drivers.redis import RedisDriver, from_entry
from wippy_lua.queue.message import JSON, TEXT
from wippy_lua.registry.entry import Entry
from wippy_lua.registry.kinds import RedisDriverSpec
from wippy_lua.registry.problem import Mark
from wippy_lua.testing import DriverSuite, QueueProbe
from wippy_lua.testing.probe import Patience, eventually

pytestmark = pytest.mark.network

PATIENCE = Patience()
LEASE = 1.0
NAMES = (f"tasks{n}" for n in count(1))


class RecordingLog(NullLog):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[tuple[str, dict[str, Any]]] = []

    def bind(self, **_fields: Any) -> Log:
        return self

    def warning(self, msg: str, /, **fields: Any) -> None:
        self.warnings.append((msg, fields))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with server.client() as client:
        yield client


def make_driver(server: RedisServer, log: Log | None = None) -> RedisDriver:
    return RedisDriver(server.url, SystemClock(), log or NullLog(), lease=LEASE)


@pytest.fixture
def driver(server: RedisServer) -> Iterator[RedisDriver]:
    driver = make_driver(server)
    driver.start()
    yield driver
    driver.stop()


@pytest.fixture
def other(server: RedisServer) -> Iterator[RedisDriver]:
    """What another process would have."""
    other = make_driver(server)
    other.start()
    yield other
    other.stop()


class TestConformance(DriverSuite):
    lease = LEASE
    unit = 0.2

    @pytest.fixture
    def driver(self, server: RedisServer) -> Iterator[Driver]:
        driver = make_driver(server)
        driver.start()
        yield driver
        driver.stop()


def declare(*drivers: RedisDriver, name: str = "", **options: object) -> list[QueueProbe]:
    """Declares one queue at several drivers."""
    name = name or next(NAMES)
    for driver in drivers:
        driver.declare_queue(QueueConfig(f"app:{name}", "app:redis", name, options=options))
    return [QueueProbe(driver, f"app:{name}", PATIENCE) for driver in drivers]


def base_of(queue: QueueProbe) -> str:
    return f"wippy:{{{queue.id.removeprefix('app:')}}}"


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


def test_messages_that_were_there_before_the_queue_are_delivered(
    driver: RedisDriver, client: redis.Redis
) -> None:
    name = next(NAMES)
    client.xadd(f"wippy:{{{name}}}", {"payload": "early"})
    (queue,) = declare(driver, name=name)
    assert queue.attach().drain(1) == [b"early"]


# Waking up


def settle_down() -> None:
    """Lets a reader find nothing and wait on the server."""
    gevent.sleep(0.2)


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
    queue.publish(*[b"gone"] * 3000, ttl=0.3)
    queue.publish(b"kept")
    gevent.sleep(0.5)
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


# The server's state


def test_a_queue_that_was_flushed_is_made_again(driver: RedisDriver, client: redis.Redis) -> None:
    (queue,) = declare(driver, max_length=5)
    inbox = queue.attach()
    queue.publish(b"before")
    inbox.receive()
    client.flushall()
    queue.publish(b"after")
    assert inbox.receive().message.body == b"after"
    assert client.hget(f"{base_of(queue)}:meta", "max_length") == b"5"


def test_a_waiting_reader_goes_on_after_a_flush(driver: RedisDriver, client: redis.Redis) -> None:
    (queue,) = declare(driver)
    inbox = queue.attach()
    settle_down()
    client.flushall()
    queue.publish(b"after")
    assert inbox.drain(1) == [b"after"]


def test_a_queue_that_is_not_ours_to_make_stays_flushed(
    driver: RedisDriver, other: RedisDriver, client: redis.Redis
) -> None:
    (queue,) = declare(driver)
    name = queue.id.removeprefix("app:")
    other.declare_queue(QueueConfig(queue.id, "app:redis", name, declare=False))
    driver.stop()
    client.flushall()
    with pytest.raises(QueueNotFound):
        QueueProbe(other, queue.id, PATIENCE).publish(b"m")


def test_a_script_that_was_flushed_is_loaded_again(
    driver: RedisDriver, client: redis.Redis
) -> None:
    (queue,) = declare(driver)
    inbox = queue.attach()
    settle_down()
    client.script_flush()
    queue.publish(b"m")
    assert inbox.drain(1) == [b"m"]
    assert queue.shows(ready=0)


def test_a_key_of_another_type_is_a_conflict(driver: RedisDriver, client: redis.Redis) -> None:
    name = next(NAMES)
    client.set(f"wippy:{{{name}}}", "x")
    with pytest.raises(WippyError, match="is a string") as caught:
        declare(driver, name=name)
    assert caught.value.kind is Kind.CONFLICT


def test_a_full_memory_refuses_publishes_and_nothing_else(
    driver: RedisDriver, client: redis.Redis
) -> None:
    (queue,) = declare(driver)
    (target,) = declare(driver)
    queue.publish(b"a", b"b", b"c")
    first, second, third = driver.take(queue.id, 3)
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(WippyError, match="maxmemory") as caught:
            queue.publish(b"d")
        first.ack()
        second.release(0.0, charged=True)
        third.move(target.id, third.message)
        assert queue.shows(ready=1)
        assert target.shows(ready=1)
    finally:
        client.config_set("maxmemory", 0)
    assert (caught.value.kind, caught.value.retryable) == (Kind.UNAVAILABLE, True)
    assert queue.attach().drain(1) == [b"b"]


def test_a_server_that_may_evict_is_warned_of(server: RedisServer, client: redis.Redis) -> None:
    log = RecordingLog()
    driver = make_driver(server, log)
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        driver.start()
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        driver.stop()
    assert [fields for _, fields in log.warnings] == [{"maxmemory_policy": "allkeys-lru"}]


def test_more_attachments_than_a_pool_has_connections(driver: RedisDriver) -> None:
    (queue,) = declare(driver)
    inboxes = [queue.attach(credit=1) for _ in range(120)]
    queue.publish(*[b"%d" % n for n in range(120)])
    received = {inbox.receive().message.body for inbox in inboxes}
    assert len(received) == 120


# Configuration


def test_an_option_that_is_misspelt_is_named_with_the_one_that_was_meant(
    driver: RedisDriver,
) -> None:
    with pytest.raises(WippyError, match="'maxlength'; did you mean 'max_length'"):
        declare(driver, maxlength=5)


def test_one_id_cannot_have_two_names(driver: RedisDriver) -> None:
    (queue,) = declare(driver)
    with pytest.raises(WippyError, match="other") as caught:
        driver.declare_queue(QueueConfig(queue.id, "app:redis", "other"))
    assert caught.value.kind is Kind.CONFLICT


def test_a_bound_that_another_process_declared_is_a_conflict(
    driver: RedisDriver, other: RedisDriver
) -> None:
    (queue,) = declare(driver, max_length=7)
    with pytest.raises(WippyError, match=r"7.*none") as caught:
        declare(other, name=queue.id.removeprefix("app:"))
    assert caught.value.kind is Kind.CONFLICT


def test_a_bound_holds_for_all_processes(driver: RedisDriver, other: RedisDriver) -> None:
    queue, remote = declare(driver, other, max_length=2)
    queue.publish(b"a")
    remote.publish(b"b")
    publisher = gevent.spawn(remote.publish, b"c", timeout=5.0)
    settle_down()
    assert not publisher.ready()
    assert queue.attach().drain(3) == [b"a", b"b", b"c"]
    publisher.get(timeout=5)


def test_prefixes_keep_queues_of_one_name_apart(server: RedisServer) -> None:
    drivers = [
        RedisDriver(server.url, SystemClock(), NullLog(), prefix=prefix) for prefix in ("a", "b")
    ]
    for driver in drivers:
        driver.start()
    try:
        one, two = declare(*drivers)
        one.publish(b"m")
        assert one.shows(ready=1)
        assert two.shows(ready=0)
    finally:
        for driver in drivers:
            driver.stop()


@pytest.mark.parametrize("url", ["http://127.0.0.1", "redis://127.0.0.1?db=x"])
def test_a_url_that_is_none_is_invalid(url: str) -> None:
    spec = RedisDriverSpec(url=url)
    entry = Entry("app:redis", "queue.driver.redis", spec, Mark("_index.yaml"), Path())
    with pytest.raises(WippyError, match=r"app:redis: .*URL") as caught:
        from_entry(entry, SystemClock(), NullLog())
    assert caught.value.kind is Kind.INVALID


def test_a_password_that_is_refused_is_no_reason_to_try_again(
    server: RedisServer, client: redis.Redis
) -> None:
    client.config_set("requirepass", "secret")
    try:
        driver = RedisDriver(
            server.url.replace("//", "//:my-guess@"), SystemClock(), NullLog(), lease=LEASE
        )
        with pytest.raises(WippyError) as caught:
            driver.start()
    finally:
        client.config_set("requirepass", "")
    assert (caught.value.kind, caught.value.retryable) == (Kind.PERMISSION_DENIED, False)
    assert "my-guess" not in caught.value.message


def test_an_unreachable_server_fails_the_start(tmp_path: Path) -> None:
    driver = make_driver(RedisServer(tmp_path))
    with pytest.raises(WippyError, match=r"cannot reach Redis at 127\.0\.0\.1:") as caught:
        driver.start()
    assert (caught.value.kind, caught.value.retryable) == (Kind.UNAVAILABLE, True)
    driver.stop()
