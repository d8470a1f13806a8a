"""The redis driver when processes die, servers restart, hang or are not what they should be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent
import pytest

from tests.drivers.proxy import Proxy
from tests.drivers.redis.server import RedisServer
from tests.drivers.redis.support import ROOT, run_python
from tests.host.apps import Gate, make_host, wait_for
from wippy_lua.clock import SystemClock
from wippy_lua.errors import Kind, WippyError
from wippy_lua.log import NullLog
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.drivers.redis.driver import RedisDriver
from wippy_lua.queue.drivers.redis.reader import LONGEST_READ
from wippy_lua.queue.message import Delivery
from wippy_lua.redis.wire import silence_within
from wippy_lua.testing import QueueProbe
from wippy_lua.testing.probe import Patience

pytestmark = pytest.mark.network

LEASE = 1.0
QUEUE = QueueConfig("app:tasks", "app:redis", "tasks")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def driver(server: RedisServer) -> Iterator[RedisDriver]:
    driver = RedisDriver(server.url, SystemClock(), NullLog(), lease=LEASE)
    driver.start()
    driver.declare_queue(QUEUE)
    yield driver
    driver.stop()


@pytest.fixture
def queue(driver: RedisDriver) -> QueueProbe:
    return QueueProbe(driver, QUEUE.id, Patience())


class Handler:
    """Acks each delivery a moment after it came, and remembers when each body was handled."""

    def __init__(self) -> None:
        self.seen: dict[bytes, float] = {}
        self.times = 0

    def put(self, item: Delivery) -> None:
        gevent.spawn(self._handle, item)

    def _handle(self, item: Delivery) -> None:
        gevent.sleep(0.001)
        self.times += 1
        self.seen[item.message.body] = time.monotonic()
        item.ack()


class Load:
    """Publishes numbered messages one by one, from some greenlets, and knows which are safe."""

    def __init__(self, queue: QueueProbe, publishers: int = 5) -> None:
        self._queue = queue
        self.confirmed: set[bytes] = set()
        self.failures: list[WippyError] = []
        self._going = True
        self._greenlets = [gevent.spawn(self._publish, n) for n in range(publishers)]

    def _publish(self, publisher: int) -> None:
        number = 0
        while self._going:
            number += 1
            body = b"%d-%d" % (publisher, number)
            try:
                self._queue.publish(body, timeout=5.0)
            except WippyError as error:
                self.failures.append(error)
            else:
                self.confirmed.add(body)
            gevent.sleep(0.002)

    def stop(self) -> None:
        self._going = False
        gevent.joinall(self._greenlets, timeout=10, raise_error=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_restart_of_the_server_under_load_loses_nothing(
    server: RedisServer, queue: QueueProbe, number: signal.Signals
) -> None:
    handler = Handler()
    queue.driver.attach(queue.id, 50, handler)
    load = Load(queue)
    gevent.sleep(0.5)
    server.stop(number)
    gevent.sleep(0.5)
    server.start()
    back = time.monotonic()
    wait_for(lambda: handler.seen and max(handler.seen.values()) > back, timeout=10)
    gevent.sleep(0.5)
    load.stop()
    wait_for(lambda: load.confirmed <= handler.seen.keys(), timeout=10)
    assert len(load.confirmed) > 100
    assert load.failures == []  # Each waited for the server, and was stored then.
    assert queue.shows(ready=0)


def test_messages_are_stored_once_although_the_answer_was_lost(
    server: RedisServer, driver: RedisDriver, queue: QueueProbe
) -> None:
    """Cuts the connection between the server's write and its answer, by holding up the server."""
    with server.client() as client:
        for _ in range(5):
            connection = driver._wire._connection
            assert connection is not None
            os.kill(server.pid, signal.SIGSTOP)
            publisher = gevent.spawn(queue.publish, b"m", timeout=10.0)
            gevent.sleep(0.05)  # Now the command is in the server's socket.
            connection._sock.shutdown(0)  # type: ignore[attr-defined]
            os.kill(server.pid, signal.SIGCONT)
            publisher.get(timeout=10)
        assert client.xlen("wippy:{tasks}") == 5


def test_what_a_broken_read_was_given_comes_at_once(
    server: RedisServer, driver: RedisDriver, queue: QueueProbe
) -> None:
    inbox = queue.attach(credit=1)
    queue.publish(b"first")
    first = inbox.receive()
    reader = driver._attachments[0]
    with server.client() as client:
        # As if a fetch had been answered into a connection that was just breaking.
        entry = client.xadd("wippy:{tasks}", {"body": b"limbo"})
        client.xreadgroup("wippy", reader._holder.name, {"wippy:{tasks}": ">"})
        client.client_kill_filter(_id=str(reader._client))
    began = time.monotonic()
    first.ack()
    delivery = inbox.receive()
    assert (delivery.message.body, delivery.attempt) == (b"limbo", 1)
    assert delivery.message.id.encode() == entry
    assert time.monotonic() - began < LEASE / 2


def test_connections_that_break_again_and_again_lose_and_repeat_nothing(
    server: RedisServer, queue: QueueProbe
) -> None:
    handlers = [Handler() for _ in range(3)]
    for handler in handlers:
        queue.driver.attach(queue.id, 20, handler)
    load = Load(queue)
    with server.client() as client:
        for _ in range(15):
            gevent.sleep(0.15)
            client.client_kill_filter(skipme=True, _type="normal")
    load.stop()
    assert load.failures == []
    assert queue.shows(ready=0)
    handled = [body for handler in handlers for body in handler.seen]
    assert sorted(handled) == sorted(load.confirmed)
    assert sum(handler.times for handler in handlers) == len(handled)


@contextmanager
def host_process(server: RedisServer, mode: str) -> Iterator[subprocess.Popen[str]]:
    """Runs a consumer of the queue in a process of its own."""
    command = [sys.executable, "-m", "tests.drivers.redis.app", server.url, "tasks", mode]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "host")}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait(timeout=10)
        assert process.stdout is not None
        process.stdout.close()


def test_the_messages_of_a_killed_host_come_back_charged(
    server: RedisServer, queue: QueueProbe
) -> None:
    with host_process(server, "hold") as process:
        queue.publish(*[b"%d" % n for n in range(10)])
        assert queue.shows(ready=0, in_flight=10)
        gevent.sleep(2 * LEASE)
        assert queue.shows(ready=0, in_flight=10)  # A host that lives keeps them.
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
    again = queue.attach(credit=20).receive_many(10)
    assert sorted(d.message.body for d in again) == [b"%d" % n for n in range(10)]
    assert {d.attempt for d in again} == {2}


def test_two_processes_share_a_queue_without_handling_twice(
    server: RedisServer, queue: QueueProbe
) -> None:
    bodies = [b"%d" % n for n in range(400)]
    with host_process(server, "handle") as process:
        handler = Handler()
        queue.driver.attach(queue.id, 10, handler)
        for body in bodies:
            queue.publish(body)
        assert queue.shows(ready=0)
        process.kill()
        assert process.stdout is not None
        there = [line.split()[1].encode() for line in process.stdout]
    assert there
    assert handler.seen
    assert sorted([*there, *handler.seen]) == sorted(bodies)
    assert handler.times == len(handler.seen)


def test_a_handler_that_takes_three_leases_runs_once(server: RedisServer, tmp_path: Path) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    gate = Gate()
    entries = f"""\
      - {{name: redis, kind: queue.driver.redis, url: "{server.url}", lease: 1s}}
      - {{name: tasks, kind: queue.queue, driver: redis}}
      - name: consumer
        kind: queue.consumer
        queue: tasks
        func: handler
        concurrency: 2
        lifecycle: {{auto_start: true}}
      - name: handler
        kind: function.lua
        source: file://handler.lua
        modules: [gate]
    """
    handler = """
        local gate = require("gate")
        return function(body)
          gate.note(body)
          gate.wait()
        end
    """
    host = make_host(folder, entries, modules={"gate": gate.functions()}, handler=handler)
    with host:
        for n in range(5):  # Two run, three wait in the buffer: all have a lease.
            host.publish("app:tasks", f"{n}")
        wait_for(lambda: gate.waiting == 2)
        gevent.sleep(3 * LEASE)
        gate.let_go(5)
        wait_for(lambda: not host.info("app:tasks").message_count)
    assert sorted(gate.seen) == ["0", "1", "2", "3", "4"]


def test_a_reader_that_waited_for_room_does_not_trust_its_connection_after_a_silence(
    server: RedisServer,
) -> None:
    """Else it would ask over it, and wait once more as long as the wire has."""
    with Proxy(server.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        driver = RedisDriver(url, SystemClock(), NullLog(), lease=LEASE)
        driver.start()
        driver.declare_queue(QUEUE)
        queue = QueueProbe(driver, QUEUE.id, Patience())
        queue.publish(b"first", b"second")
        inbox = queue.attach(credit=1)
        first = inbox.receive()
        proxy.strand()
        began = time.monotonic()
        first.ack()
        assert inbox.receive().message.body == b"second"
        assert time.monotonic() - began < 4.0
        driver.stop()


def test_a_read_that_waits_on_a_dead_connection_ends_when_the_wire_hears_nothing(
    server: RedisServer,
) -> None:
    """Else what was published meanwhile would wait for LONGEST_READ and a silence more."""
    with Proxy(server.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        driver = RedisDriver(url, SystemClock(), NullLog(), lease=LEASE)
        driver.start()
        driver.declare_queue(QUEUE)
        queue = QueueProbe(driver, QUEUE.id, Patience())
        inbox = queue.attach(credit=1)
        gevent.sleep(0.1)
        proxy.strand()
        began = time.monotonic()
        queue.publish(b"m")
        assert inbox.receive().message.body == b"m"
        assert time.monotonic() - began < LONGEST_READ
        driver.stop()


@pytest.mark.parametrize(("lease", "seconds"), [(1.0, 1.0), (12.0, 3.0), (30.0, 5.0), (300.0, 5.0)])
def test_the_silence_after_which_a_server_is_gone_is_a_quarter_of_a_lease_within_bounds(
    lease: float, seconds: float
) -> None:
    assert silence_within(lease) == seconds


@contextmanager
def hanging(server: RedisServer) -> Iterator[None]:
    """Lets a server hang: its connections stay open and nothing is answered."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


def test_a_publish_to_a_hanging_server_fails_in_time(
    server: RedisServer, queue: QueueProbe
) -> None:
    with hanging(server):
        began = time.monotonic()
        with pytest.raises(WippyError) as caught:
            queue.publish(b"m", timeout=0.5)
        assert time.monotonic() - began < 1.0
    assert (caught.value.kind, caught.value.retryable) == (Kind.TIMEOUT, True)
    queue.publish(b"next")
    assert queue.attach().receive().message.body in (b"m", b"next")


def test_a_publish_without_a_server_fails_in_time_and_works_again_later(
    server: RedisServer, queue: QueueProbe
) -> None:
    server.stop(signal.SIGKILL)
    began = time.monotonic()
    with pytest.raises(WippyError, match="cannot reach Redis") as caught:
        queue.publish(b"m", timeout=0.5)
    assert time.monotonic() - began < 1.0
    assert (caught.value.kind, caught.value.retryable) == (Kind.UNAVAILABLE, True)
    waiting = gevent.spawn(queue.publish, b"waited", timeout=10.0)
    server.start()
    waiting.get(timeout=10)
    assert queue.attach().drain(1) == [b"waited"]


@pytest.mark.parametrize("state", ["gone", "hanging"])
def test_stopping_without_a_server_is_quick(
    server: RedisServer, driver: RedisDriver, queue: QueueProbe, state: str
) -> None:
    for _ in range(5):
        queue.attach()
    queue.publish(b"m")
    gevent.sleep(0.2)
    if state == "gone":
        server.stop(signal.SIGKILL)
        gevent.sleep(0.2)
        began = time.monotonic()
        driver.stop()
    else:
        with hanging(server):
            began = time.monotonic()
            driver.stop()
    assert time.monotonic() - began < 5.0


def test_settlements_are_sent_before_a_stop_returns(
    server: RedisServer, driver: RedisDriver, queue: QueueProbe
) -> None:
    queue.publish(*[b"m"] * 100)
    for delivery in queue.attach(credit=100).receive_many(100):
        delivery.ack()
    driver.stop()
    with server.client() as client:
        assert client.xlen("wippy:{tasks}") == 0


def test_what_is_settled_keeps_its_credit_until_the_server_knows(
    driver: RedisDriver, queue: QueueProbe
) -> None:
    """Else a host whose settlements wait would hold, and lose in a crash, more than its credit."""
    queue.publish(b"1", b"2", b"3", b"4")
    inbox = queue.attach(credit=2)
    wire = driver._wire
    first = inbox.receive_many(2)
    assert wire._greenlet is not None
    wire._greenlet.kill()
    for delivery in first:
        delivery.ack()
    assert inbox.is_quiet()
    wire._greenlet = gevent.spawn(wire._run)
    assert [delivery.message.body for delivery in inbox.receive_many(2)] == [b"3", b"4"]


def test_an_unpatched_process_is_told_what_to_call() -> None:
    said = run_python("""
        from wippy_lua.clock import SystemClock
        from wippy_lua.errors import WippyError
        from wippy_lua.log import NullLog
        from wippy_lua.queue.drivers.redis.driver import RedisDriver
        try:
            RedisDriver("redis://127.0.0.1:1/0", SystemClock(), NullLog()).start()
        except WippyError as error:
            print(error.kind.name, error)
    """)
    assert said.startswith("INVALID queue.driver.redis needs a patched process")
    assert "gevent.monkey.patch_all()" in said


def test_a_missing_client_library_is_one_line_that_says_what_to_install() -> None:
    said = run_python("""
        import sys
        sys.modules["redis"] = None
        from wippy_lua.errors import WippyError
        try:
            import wippy_lua.queue.drivers.redis.driver
        except WippyError as error:
            print(error)
    """)
    assert said == 'queue.driver.redis needs redis-py: pip install "wippy-lua[redis]"\n'
