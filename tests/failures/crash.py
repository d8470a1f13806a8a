"""The crash run: a publisher that lives, and a host that is killed again and again beside it."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any
from uuid import uuid4

import gevent

from tests.failures.places import Broker, Folder
from tests.failures.verdict import Handling, Limits, Verdict, judge
from tests.host.apps import make_host, write_app
from tests.lines import whole_lines
from wippy_lua import Host

CONCURRENCY = 8
PREFETCH = 16
PUBLISHERS = 8
#: Messages that wait at most: more would all be stored before the first kill.
AHEAD = 500
#: Seconds without progress after which a run has failed.
PATIENCE = 30.0
POLL_SECONDS = 0.005
MOST_DRAINS = 5
#: Seconds that pass at most between a kill's moment in the count of messages and the kill.
JITTER_SECONDS = 0.05
IS_LONG = os.environ.get("WIPPY_LUA_LONG") == "1"

#: A message that is caught by more crashes than that is given up, and never handled again.
MAX_ATTEMPTS = 4

QUEUE = f"""\
- {{{{name: work, kind: queue.queue, driver: broker, queue_name: {{name}},
   dead_letter: {{{{queue: dead, max_attempts: {MAX_ATTEMPTS}}}}}}}}}
- {{{{name: dead, kind: queue.queue, driver: broker, queue_name: {{name}}.dead}}}}
"""
UNDERTAKER = """\
- {name: undertaker, kind: queue.consumer, queue: dead, func: bury, lifecycle: {auto_start: true}}
- {name: bury, kind: function.lua, source: file://bury.lua, modules: [queue, graves]}
"""
BURY = (
    'local m, g = require("queue"), require("graves") return function() g.add(m.message():id()) end'
)
CONSUMER = f"""\
- name: consumer
  kind: queue.consumer
  queue: work
  func: handler
  concurrency: {CONCURRENCY}
  prefetch: {PREFETCH}
  lifecycle: {{auto_start: true}}
- {{name: handler, kind: function.lua, source: file://handler.lua, modules: [queue, work]}}
"""
HANDLER = """\
local queue, work = require("queue"), require("work")

return function(body)
  local message = queue.message()
  assert(body.id == message:id(), "the body is another message's")
  work.handle(message:id(), message:attempt())
end
"""


def a_seed() -> int:
    """Returns the seed of the run that is to be repeated, else a new one."""
    return int(os.environ.get("WIPPY_LUA_SEED") or random.randrange(1_000_000))


@dataclass(frozen=True, slots=True)
class Plan:
    """How much happens in a run; the seed chooses the moments of the kills."""

    messages: int
    kills: int
    seed: int
    #: The part of the messages within which all kills come.
    part: float = 0.9

    def moments(self) -> list[tuple[int, float]]:
        """Returns for each kill after how many handlings it comes, and how many seconds later."""
        chance = random.Random(self.seed)
        counts = sorted(chance.sample(range(1, int(self.messages * self.part)), self.kills))
        return [(count, chance.uniform(0, JITTER_SECONDS)) for count in counts]


class Progress:
    """The handlings so far, in the order in which they happened, and what was dead-lettered."""

    def __init__(self) -> None:
        self.handlings: list[Handling] = []
        self.dead: set[str] = set()

    def graves(self) -> Mapping[str, Callable[..., Any]]:
        """Returns the functions of the Lua module `graves`."""
        return {"add": self.dead.add}

    def count(self) -> int:
        """Returns how many handlings there are by now."""
        return len(self.handlings)

    def wait_for(self, condition: Callable[[], bool]) -> bool:
        """Lets others run until the condition holds; false when nothing is handled any more."""
        seen, since = -1, time.monotonic()
        while not condition():
            if self.count() != seen:
                seen, since = self.count(), time.monotonic()
            if time.monotonic() - since > PATIENCE:
                return False
            gevent.sleep(POLL_SECONDS)
        return True

    def wait_for_count(self, count: int) -> None:
        """Lets others run until there are so many handlings, and one more than now at least."""
        wanted = max(count, self.count() + 1)
        assert self.wait_for(lambda: self.count() >= wanted), f"nothing after {self.count()}"

    def has(self, messages: AbstractSet[str]) -> bool:
        """Tells whether each of these was handled or dead-lettered."""
        if self.count() + len(self.dead) < len(messages):
            return False
        return messages <= {handling.message for handling in self.handlings} | self.dead


class Trail(Progress):
    """The handlings that host processes have written down, read as they come."""

    def __init__(self, folder: Folder) -> None:
        super().__init__()
        self._path = folder.path / "handled"
        self._path.touch()
        self._offset = 0

    def count(self) -> int:
        with self._path.open("rb") as file:
            file.seek(self._offset)
            read = file.read()
        text = whole_lines(read)  # The rest comes next time.
        self._offset += len(text)
        for line in text.decode().splitlines():
            message, attempt, process = line.split()
            self.handlings.append(Handling(message, int(attempt), int(process)))
        return len(self.handlings)


class Publisher:
    """Publishes numbered messages, and records an ID only once publish has returned it."""

    def __init__(self, host: Host, progress: Progress, messages: int) -> None:
        self._host = host
        self._progress = progress
        self._numbers = iter(range(messages))
        self.attempted: set[str] = set()
        self.recorded: set[str] = set()
        self._greenlets = [gevent.spawn(self._publish) for _ in range(PUBLISHERS)]

    def is_done(self) -> bool:
        """Tells whether all is published; raises what a publish raised."""
        for greenlet in self._greenlets:
            if greenlet.dead:
                greenlet.get()
        return all(greenlet.dead for greenlet in self._greenlets)

    def end(self) -> None:
        """Publishes no more."""
        gevent.killall(self._greenlets)

    def _publish(self) -> None:
        for number in self._numbers:
            while number > len(self._progress.handlings) + AHEAD:
                gevent.sleep(POLL_SECONDS)
            message = f"m{number}"
            self.attempted.add(message)
            self._store(message)

    def _store(self, message: str) -> None:
        self.recorded.add(self._host.publish("app:work", {"id": message}, message_id=message))


#: What happens to the hosts of a run, at a moment: after so many handlings, so much later.
Blow = Callable[[Folder, Trail, int, float], None]


def kill_after(folder: Folder, trail: Trail, count: int, later: float) -> None:
    """Runs a host until so many messages are handled, one by itself at least, and kills it."""
    with folder.doomed_host():
        trail.wait_for_count(count)
        gevent.sleep(later)


def run(
    broker: Broker,
    folder: Folder,
    own: Path,
    plan: Plan,
    strike: Blow = kill_after,
) -> Verdict:
    """Publishes from this process, strikes hosts as planned, lets the last drain, and judges."""
    entries = broker.entry() + QUEUE.format(name=f"crash-{uuid4().hex}")
    write_app(folder.path, entries + CONSUMER, handler=HANDLER)
    trail = Trail(folder)
    modules = {"graves": trail.graves()}
    with make_host(own, entries + UNDERTAKER, modules, bury=BURY) as host:
        publisher = Publisher(host, trail, plan.messages)
        try:
            for count, later in plan.moments():
                strike(folder, trail, count, later)
            left = _drain(folder, trail, publisher, lambda: host.info("app:work").message_count)
        finally:
            publisher.end()
    trail.count()
    limits = Limits(plan.kills, PREFETCH + CONCURRENCY, max_attempts=MAX_ATTEMPTS)
    published = publisher.attempted, publisher.recorded
    # Who stood still writes down an early attempt late; what counts is that each comes once.
    handlings = sorted(trail.handlings, key=attrgetter("attempt"))
    return judge(*published, handlings, left, limits, trail.dead)


def _drain(
    folder: Folder, trail: Trail, publisher: Publisher, count: Callable[[], int | None]
) -> int:
    """Runs hosts until nothing comes any more, and returns how many messages are left.

    A queue that looks empty may not be: RabbitMQ does not tell what another host holds, and that
    goes back when it stops.
    """
    left: int | None = None
    for _ in range(MOST_DRAINS):
        with folder.host():
            trail.wait_for(publisher.is_done)
            trail.wait_for(lambda: trail.has(publisher.recorded))
            trail.wait_for(lambda: count() == 0)
        left = count()
        if not left:
            break
    assert left is not None, "the broker does not count"
    return left
