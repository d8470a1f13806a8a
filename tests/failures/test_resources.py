"""Brokers and disks without room: a publish fails in time, and nothing that was taken is lost."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from uuid import uuid4

import gevent
import pytest

from tests.drivers.rabbitmq import RabbitMQ
from tests.drivers.redis.server import RedisServer
from tests.failures.conftest import LEASE
from tests.failures.disks import can_mount, no_file_grows, read_only, small_disk
from tests.failures.figures import Figures
from tests.failures.places import Broker
from tests.failures.verdict import Handling, Limits, judge
from tests.host.apps import Gate, make_host, wait_for
from wippy_lua import Host
from wippy_lua.errors import Kind, WippyError

pytestmark = [pytest.mark.failures, pytest.mark.network]

CONCURRENCY = 8
TIMEOUT, LATE = 1.0, 2.0
LARGE = 600_000
OUTAGE_SECONDS = 0.5
RECOVERY_SECONDS = 10.0

QUEUES = """\
- {{name: work, kind: queue.queue, driver: broker, queue_name: {name}}}
"""
CONSUMER = f"""\
- name: consumer
  kind: queue.consumer
  queue: work
  func: handler
  concurrency: {CONCURRENCY}
  prefetch: 0
  retry: {{initial_delay: 10ms}}
  lifecycle: {{auto_start: true}}
- {{name: handler, kind: function.lua, source: file://handler.lua, modules: [queue, gate]}}
"""
#: Half of the messages fail once, so that there are nacks beside the acks.
HANDLER = """\
local queue, gate = require("queue"), require("gate")

return function(body)
  local message = queue.message()
  gate.wait()
  if body.fails and message:attempt() == 1 then
    error("not yet")
  end
  gate.note({id = message:id(), attempt = message:attempt()})
end
"""


@dataclass(frozen=True, slots=True)
class Shortage:
    """A broker, and what takes its room away."""

    broker: Broker
    fault: Callable[[], AbstractContextManager[None]]


@contextmanager
def alarm(rabbitmq: RabbitMQ, begin: tuple[str, ...], end: tuple[str, ...]) -> Iterator[None]:
    rabbitmq.control(*begin)
    try:
        yield
    finally:
        rabbitmq.control(*end)


@contextmanager
def full_memory(server: RedisServer) -> Iterator[None]:
    with server.client() as client:
        client.config_set("maxmemory", 1)
        try:
            yield
        finally:
            client.config_set("maxmemory", 0)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Fills a small disk with somebody else's file."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        size = 1 << 16
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    try:
        yield
    finally:
        ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder, "8m"):
        yield folder


@pytest.fixture
def memory_alarm(rabbitmq: RabbitMQ, amqp_broker: Broker) -> Shortage:
    set_mark = "set_vm_memory_high_watermark"
    return Shortage(amqp_broker, partial(alarm, rabbitmq, (set_mark, "0.00001"), (set_mark, "0.4")))


@pytest.fixture
def disk_alarm(rabbitmq: RabbitMQ, amqp_broker: Broker) -> Shortage:
    set_limit = "set_disk_free_limit"
    return Shortage(
        amqp_broker, partial(alarm, rabbitmq, (set_limit, "1000000000000000"), (set_limit, "50MB"))
    )


@pytest.fixture
def maxmemory(redis_server: RedisServer, redis_broker: Broker) -> Shortage:
    return Shortage(redis_broker, partial(full_memory, redis_server))


@pytest.fixture
def file_limit(tmp_path: Path, sqlite_broker: Broker) -> Shortage:
    return Shortage(sqlite_broker, partial(no_file_grows, tmp_path / "queue.db"))


@pytest.fixture
def full_disk(disk: Path) -> Shortage:
    return Shortage(
        Broker("sqlite", {"file": str(disk / "queue.db")}, LEASE), partial(filled, disk)
    )


@pytest.fixture
def read_only_disk(disk: Path) -> Iterator[Path]:
    with read_only(disk):
        yield disk


#: A folder in which nobody may make a file, whatever the privileges.
NOWHERE = "/proc/self"
#: A real disk that is full or read-only, where this process may mount one.
CAN_MOUNT = can_mount()
SHORTAGES = ["memory_alarm", "disk_alarm", "maxmemory", "file_limit"]
SHORTAGES += ["full_disk"] if CAN_MOUNT else []
PLACES = [NOWHERE, *(["read_only_disk"] if CAN_MOUNT else [])]


@pytest.fixture(params=SHORTAGES)
def shortage(request: pytest.FixtureRequest) -> Shortage:
    found: Shortage = request.getfixturevalue(request.param)
    return found


@dataclass
class Load:
    """What a host was given, and what its handlers have handled."""

    host: Host
    gate: Gate
    attempted: set[str] = field(default_factory=set)
    recorded: set[str] = field(default_factory=set)

    def publish(self, size: int = 10, *, fails: bool = False, timeout: float = TIMEOUT) -> None:
        message = uuid4().hex
        self.attempted.add(message)
        body = {"pad": "x" * size, "fails": fails}
        self.recorded.add(self.host.publish("app:work", body, message_id=message, timeout=timeout))

    def refused(self) -> tuple[WippyError, float]:
        """Publishes until one fails; returns its error, and after how many seconds it came."""
        for _ in range(20):  # RabbitMQ takes a while to notice.
            begun = time.monotonic()
            try:
                self.publish(LARGE)
            except WippyError as error:
                return error, time.monotonic() - begun
            gevent.sleep(0.2)
        raise AssertionError("a publish found room all the time")

    def works(self) -> bool:
        try:
            self.publish()
        except WippyError:
            return False
        return True

    def handlings(self) -> list[Handling]:
        return [Handling(note["id"], note["attempt"], 0) for note in self.gate.seen]


def test_a_publish_fails_in_time_and_all_goes_on_when_there_is_room_again(
    shortage: Shortage, own: Path, figures: Figures, request: pytest.FixtureRequest
) -> None:
    gate = Gate()
    entries = shortage.broker.entry() + QUEUES.format(name=f"short-{uuid4().hex}") + CONSUMER
    with make_host(own, entries, {"gate": gate.functions()}, handler=HANDLER) as host:
        load = Load(host, gate)
        for n in range(3 * CONCURRENCY):
            load.publish(fails=n % 2 == 0, timeout=10.0)
        wait_for(lambda: gate.waiting == CONCURRENCY)
        with shortage.fault():
            error, seconds = load.refused()
            gate.let_go(CONCURRENCY)  # Half are acked, half nacked, without any room.
            gevent.sleep(OUTAGE_SECONDS)
            again, _ = load.refused()
        wait_for(load.works, RECOVERY_SECONDS)
        gate.let_go(10 * CONCURRENCY)
        wait_for(lambda: load.recorded <= {h.message for h in load.handlings()}, RECOVERY_SECONDS)
        wait_for(lambda: host.info("app:work").message_count == 0, RECOVERY_SECONDS)
    limits = Limits(kills=1, held=3 * CONCURRENCY)
    verdict = judge(load.attempted, load.recorded, load.handlings(), 0, limits)
    name = request.node.callspec.params["shortage"].replace("_", " ")
    remarks = [f"publish failed after {seconds:.1f} s"]
    figures.add(f"no room: {name}", shortage.broker.name, len(load.attempted), 1, verdict, remarks)
    assert not verdict.problems
    for each in (error, again):
        assert each.kind in (Kind.UNAVAILABLE, Kind.TIMEOUT)
        assert each.retryable
    assert seconds < TIMEOUT + LATE


# Files that cannot be written, or have lost their end


@pytest.mark.parametrize("place", PLACES)
def test_a_file_that_cannot_be_written_fails_the_start_and_is_named(
    place: str, own: Path, figures: Figures, request: pytest.FixtureRequest
) -> None:
    folder = Path(place) if place == NOWHERE else request.getfixturevalue(place)
    file = folder / "queue.db"
    entries = Broker("sqlite", {"file": str(file)}).entry() + QUEUES.format(name="used")
    host = make_host(own, entries)
    with pytest.raises(WippyError, match=str(file)) as caught:
        host.start()
    assert caught.value.kind is Kind.UNAVAILABLE
    figures.kept("file that cannot be written", "sqlite", 0, 1, remarks="the start failed")


def test_a_log_that_lost_its_end_loses_what_was_last_and_nothing_else(
    tmp_path: Path, own: Path, figures: Figures
) -> None:
    """As after a loss of power on a disk that has not kept what it was asked to flush."""
    file, count = tmp_path / "queue.db", 40
    entries = Broker("sqlite", {"file": str(file)}).entry() + QUEUES.format(name="cut")
    with make_host(own, entries) as host:
        for n in range(count):
            host.publish("app:work", {"n": n}, message_id=f"m{n}")
        copies = tmp_path / "copies"
        copies.mkdir()
        for end in ("", "-wal"):
            shutil.copy(f"{file}{end}", copies)
    whole = (copies / "queue.db-wal").stat().st_size
    lengths = []
    for part in (1.0, 0.99, 0.9, 0.7, 0.5):
        shutil.copy(copies / "queue.db", file)
        log = (copies / "queue.db-wal").read_bytes()[: int(whole * part)]
        (tmp_path / "queue.db-wal").write_bytes(log)
        with make_host(own, entries) as host:
            kept = [
                message.id
                for message in host._app.manager.driver("app:work").peek("app:work", count)
            ]
            assert kept == [f"m{n}" for n in range(len(kept))]
            lengths.append(len(kept))
            host.publish("app:work", {"n": -1}, message_id="next")
            assert host.info("app:work").ready == len(kept) + 1
    assert lengths[0] == count
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] < count
    remarks = "the last ones, with the half of the log"
    lost = count - lengths[-1]
    figures.kept("log cut", "sqlite", count, len(lengths) - 1, lost=lost, remarks=remarks)
