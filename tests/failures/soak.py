"""The soak: one host with four drivers under a mixed load, measured from inside its process."""

from __future__ import annotations

import random
import time
from array import array
from dataclasses import asdict, dataclass, field
from pathlib import Path

import gevent

from tests.failures.stalls import StallMonitor
from tests.failures.vitals import Vitals, memory
from wippy_lua import Host
from wippy_lua.log import NullLog

DRIVERS = ("memory", "sqlite", "redis", "amqp")
#: Messages a second of each driver.
RATE = 50
#: Messages that may be on their way before publishing waits for the handlers.
AHEAD = 2000
DRAIN_SECONDS = 30.0
SHARES = {
    "ok": 0.619,
    "funcs": 0.1,
    "store": 0.1,
    "nack": 0.05,
    "snooze": 0.05,
    "delay": 0.05,
    "reject": 0.02,
    "error": 0.01,
    "spin": 0.001,
}
DEAD = ("reject", "error")  #: what ends in the dead-letter queue, and all else does not


@dataclass(slots=True)
class Report:
    """What came of a soak; `memory` has a pair for each second of its last half."""

    published: dict[str, int] = field(default_factory=lambda: dict.fromkeys(SHARES, 0))
    finished: int = 0
    repeated: int = 0
    misplaced: int = 0
    left: int = 0
    halfway: dict[str, int] = field(default_factory=dict)
    end: dict[str, int] = field(default_factory=dict)
    memory: list[tuple[float, float]] = field(default_factory=list)
    late: float = 0.0
    idle_late: float = 0.0
    cpu: float = 0.0


class Soak:
    """Publishes, and knows what has to come of each message that is on its way."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.report = Report()
        self._chance = random.Random(seed)
        self._on_their_way: set[str] = set()
        self._numbers = 0
        module = {"done": self.done, "buried": self.buried, "expect": self.expect}
        self.host = Host(folder, modules={"soak": module}, log=NullLog())

    # For the handlers

    def expect(self, message: str) -> None:
        """Notes that a message is about to be published."""
        self._on_their_way.add(message)

    def done(self, message: str) -> None:
        self._finish(message, is_dead=False)

    def buried(self, message: str) -> None:
        self._finish(message, is_dead=True)

    def _finish(self, message: str, *, is_dead: bool) -> None:
        if message not in self._on_their_way:
            self.report.repeated += 1
            return
        self._on_their_way.remove(message)
        self.report.finished += 1
        self.report.misplaced += is_dead != message.startswith(DEAD)

    # The load

    def run(self, seconds: float) -> None:
        """Publishes for so long, and waits until all is handled."""
        ends = time.monotonic() + seconds
        gevent.joinall([gevent.spawn(self._publish, d, ends) for d in DRIVERS], raise_error=True)
        patience = time.monotonic() + DRAIN_SECONDS
        while self._on_their_way and time.monotonic() < patience:
            gevent.sleep(0.01)
        self.report.left = len(self._on_their_way)

    def _publish(self, driver: str, ends: float) -> None:
        due = time.monotonic()
        while due < ends:
            gevent.sleep(max(0.0, due - time.monotonic()))
            due += 1 / RATE
            if len(self._on_their_way) < AHEAD:
                self._publish_one(driver)

    def _publish_one(self, driver: str) -> None:
        (trick,) = self._chance.choices(list(SHARES), list(SHARES.values()))
        self._numbers += 1
        message = f"{trick}-{self._numbers}"
        self.expect(message)
        body = {"trick": trick, "queue": f"app:work_{driver}", "pad": "x" * 200}
        self.host.publish(f"app:work_{driver}", body, {"tenant": "t"}, message_id=message)
        self.report.published[trick] += 1


def watch_memory(samples: array[float]) -> None:
    """Notes once a second when it is and how much memory the process has."""
    while True:
        samples.append(time.monotonic())
        samples.append(memory())
        gevent.sleep(1.0)


def run(folder: Path, seconds: float, seed: int) -> Report:
    """Runs a folder's app under the load; stops it at half the time to count, and at the end.

    So both counts are of a host at rest, and the last half is one of a host that is warm.
    """
    soak, samples = Soak(folder, seed), array("d")
    report = soak.report
    with soak.host:
        soak.run(seconds / 2)
        report.halfway = asdict(Vitals.now())
        used, begun = time.process_time(), time.monotonic()
        watcher = gevent.spawn(watch_memory, samples)
        with StallMonitor() as monitor:
            soak.run(seconds / 2)
        watcher.kill()
        report.cpu = (time.process_time() - used) / (time.monotonic() - begun)
        report.end = asdict(Vitals.now())
    report.memory = list(zip(samples[::2], samples[1::2], strict=True))
    report.late, report.idle_late = monitor.late(0.999), monitor.idle_late(0.999)
    return report
