"""Queues in memory: they outlive a restart of the driver, not of the process."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import Final

from wippy_lua.clock import Clock
from wippy_lua.errors import Kind, PublishError, QueueFull, QueueNotFound, WippyError
from wippy_lua.log import Log
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.driver import Attachment, Capabilities, QueueInfo, Seen, Sink
from wippy_lua.queue.drivers.memory.queue import MemoryQueue, Publisher, find_queue
from wippy_lua.queue.drivers.options import check_known, conflict, max_length_of
from wippy_lua.queue.message import Delivery, Message
from wippy_lua.registry.entry import Entry

DEFAULT_MAX_LENGTH: Final = 1000
OPTIONS: Final = ("max_length",)


def from_entry(_entry: Entry, clock: Clock, _log: Log) -> MemoryDriver:
    """Returns the driver of a `queue.driver.memory` entry, which has no fields of its own."""
    return MemoryDriver(clock)


class MemoryDriver:
    """Keeps the queues of one process; nothing of it reaches a disk."""

    capabilities = Capabilities(durable=False)
    reconnects = 0  #: there is nothing that could be lost

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running = False
        self._queues: dict[str, MemoryQueue] = {}
        self._by_name: dict[str, MemoryQueue] = {}

    @property
    def connected(self) -> bool:
        return self._running

    def start(self) -> None:
        """Goes on with the messages that are there."""
        self._running = True
        for queue in self._by_name.values():
            queue.pump()

    def stop(self) -> None:
        """Detaches all consumers and takes back what they have not settled."""
        self._running = False
        for queue in self._by_name.values():
            queue.halt(_stopped())

    def declare_queue(self, queue: QueueConfig) -> None:
        check_known(queue, "memory", OPTIONS)
        max_length = max_length_of(queue) or DEFAULT_MAX_LENGTH
        existing = self._queues.get(queue.id) or self._by_name.get(queue.queue_name)
        if existing is None:
            if not queue.declare:
                raise QueueNotFound(queue.id)
            existing = MemoryQueue(queue.queue_name, max_length, self._clock, self._queues)
            self._by_name[queue.queue_name] = existing
        elif (existing.name, existing.max_length) != (queue.queue_name, max_length):
            raise conflict(
                queue,
                {"queue_name": existing.name, "max_length": existing.max_length},
                {"queue_name": queue.queue_name, "max_length": max_length},
            )
        self._queues[queue.id] = existing

    def publish(
        self,
        queue: str,
        messages: Sequence[Message],
        *,
        delay: float = 0.0,
        ttl: float | None = None,
        timeout: float = 10.0,
    ) -> None:
        target = self._queues.get(queue) if self._running else None
        if target is None:
            target = self._serving(queue)  # raises what is wrong
        due, expires = 0.0, inf
        if delay > 0 or ttl is not None:
            now = self._clock.monotonic()
            due = now + delay if delay > 0 else 0.0
            expires = inf if ttl is None else now + ttl
        if target.has_room(len(messages)):
            for message in messages:
                target.add(message, due, expires)
            return
        publisher = Publisher(messages, due, expires)
        target.wait_for_room(publisher, timeout)
        _check_stored(publisher, QueueFull(queue, target.max_length, timeout))

    def attach(self, queue: str, credit: int, deliveries: Sink) -> Attachment:
        return self._serving(queue).attach(credit, deliveries)

    def info(self, queue: str) -> QueueInfo:
        return find_queue(self._queues, queue).info()

    def peek(self, queue: str, limit: int) -> list[Message]:
        return find_queue(self._queues, queue).peek(limit)

    def browse(self, queue: str) -> Iterator[Seen]:
        return find_queue(self._queues, queue).browse()

    def pick(self, queue: str, seen: Sequence[Seen]) -> list[Delivery]:
        return self._serving(queue).pick(seen)

    def take(self, queue: str, limit: int) -> list[Delivery]:
        return self._serving(queue).take(limit)

    def flush(self, queue: str) -> None:
        """Does nothing: a settlement is done when it returns."""
        find_queue(self._queues, queue)

    def purge(self, queue: str) -> int:
        return find_queue(self._queues, queue).purge()

    def _serving(self, queue: str) -> MemoryQueue:
        if not self._running:
            raise _stopped()
        return find_queue(self._queues, queue)


def _check_stored(publisher: Publisher, full: QueueFull) -> None:
    """Raises when some or all messages of a publisher found no room in time."""
    if publisher.is_done:
        return
    cause = publisher.failure or full
    if not publisher.stored:
        raise cause
    raise PublishError(dict.fromkeys(range(publisher.stored, len(publisher.messages)), cause))


def _stopped() -> WippyError:
    return WippyError("the memory driver is not started", kind=Kind.UNAVAILABLE, retryable=True)
