"""The redis driver and what it finds on the server: lost queues, full memory, other settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gevent
import pytest
import redis

from tests.drivers.redis.server import RedisServer
from tests.drivers.redis.support import (
    LEASE,
    NAMES,
    PATIENCE,
    base_of,
    declare,
    make_driver,
    settle_down,
)
from wippy_lua.clock import SystemClock
from wippy_lua.errors import Kind, QueueNotFound, WippyError
from wippy_lua.log import Log, NullLog
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.drivers.redis.driver import RedisDriver, from_entry
from wippy_lua.registry.entry import Entry
from wippy_lua.registry.kinds import RedisDriverSpec
from wippy_lua.registry.problem import Mark
from wippy_lua.testing import QueueProbe

pytestmark = pytest.mark.network


class RecordingLog(NullLog):
    """Keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[tuple[str, dict[str, Any]]] = []

    def bind(self, **_fields: Any) -> Log:
        return self

    def warning(self, msg: str, /, **fields: Any) -> None:
        self.warnings.append((msg, fields))


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
