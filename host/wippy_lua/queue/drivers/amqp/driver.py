"""Queues on RabbitMQ, over AMQP 0-9-1.

Two connections: one publishes, with confirms, and may be stopped by a broker that is short of
memory; the other does everything else. Deliveries come through a channel for each consumer, whose
`prefetch` is the credit. What AMQP cannot do natively is done beside the broker: delays by a ladder
of queues (`amqp_queues`), releases by copies (`amqp_consumer`), bounds by those who publish.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Final

import gevent

from wippy_lua.clock import Clock
from wippy_lua.errors import ConfigError, Kind, PublishError, QueueFull, QueueNotFound, WippyError
from wippy_lua.log import Log
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.driver import Attachment, Capabilities, QueueInfo, Seen, Sink
from wippy_lua.queue.drivers.amqp.connection import Connection
from wippy_lua.queue.drivers.amqp.consumer import Copier, Intake, Subscription
from wippy_lua.queue.drivers.amqp.link import Link
from wippy_lua.queue.drivers.amqp.message import first_header
from wippy_lua.queue.drivers.amqp.publisher import Deadline, Parcel, Publisher
from wippy_lua.queue.drivers.amqp.queues import (
    LONGEST_DELAY,
    AmqpQueue,
    Broker,
    Room,
    check_name,
    read_options,
)
from wippy_lua.queue.drivers.amqp.settings import Settings
from wippy_lua.queue.drivers.options import conflict
from wippy_lua.queue.message import Delivery, Message
from wippy_lua.registry.entry import Entry
from wippy_lua.registry.kinds import AmqpDriverSpec
from wippy_lua.registry.problem import Problem

MOVE_TIMEOUT: Final = 10.0  #: seconds that storing a dead letter may take
REBIRTH_PAUSE: Final = 0.5  #: seconds before a queue that was deleted is declared again
FLUSH_TIMEOUT: Final = 10.0  #: how long an operator's flush waits for copies
FLUSH_SECONDS: Final = 2.0  #: how long a stop waits for copies of released messages


def from_entry(entry: Entry, clock: Clock, log: Log) -> AmqpDriver:
    """Returns the driver of a `queue.driver.amqp` entry; raises ConfigError for its URL."""
    try:
        settings = Settings.from_spec(entry.spec_as(AmqpDriverSpec), entry.id)
    except WippyError as error:
        mark = entry.mark
        problem = Problem(mark.file, mark.line, mark.column, entry.id, error.message)
        raise ConfigError([problem]) from error
    return AmqpDriver(settings, clock, log)


class AmqpDriver:
    """The queues of one virtual host of a RabbitMQ."""

    def __init__(self, settings: Settings, clock: Clock, log: Log) -> None:
        self.capabilities = Capabilities(
            priority=settings.queue_type == "classic",
            atomic_move=False,
            exact_info=False,
            browse=False,
        )
        self._settings = settings
        self._clock = clock
        self._log = log
        self._publisher = Publisher(settings, log)
        self._link = Link(settings, "consume", self._prepare, log)
        self._broker = Broker()
        self._copier = Copier(self._publisher, log)
        self._queues: dict[str, AmqpQueue] = {}
        self._by_name: dict[str, AmqpQueue] = {}
        self._subscriptions: set[Subscription] = set()
        self._taken: dict[str, Intake] = {}

    # Its life

    @property
    def connected(self) -> bool:
        return self._link.is_up and self._publisher.is_up

    @property
    def reconnects(self) -> int:
        return self._link.reconnects + self._publisher.reconnects

    def start(self) -> None:
        if self._link.is_running:
            return
        self._link.start()
        try:
            self._publisher.start()
        except BaseException:
            self._link.stop()
            raise
        self._copier.start()

    def stop(self) -> None:
        self._copier.stop(FLUSH_SECONDS)
        self._subscriptions.clear()
        self._taken.clear()
        self._link.stop()
        self._broker.use(None)
        self._publisher.stop()

    def _prepare(self, connection: Connection) -> None:
        """Makes a new connection what the last one was: the queues, then their consumers."""
        self._broker.use(connection)
        for queue in list(self._by_name.values()):
            try:
                queue.declare(queue.name)
            except WippyError as error:
                if error.kind is Kind.UNAVAILABLE:
                    raise
                self._log.error("declaring a queue again failed", error=error.message)
        for subscription in list(self._subscriptions):
            try:
                subscription.open(connection)
            except WippyError as error:
                if connection.error is not None:
                    raise
                subscription.resume(error.message)

    # The verbs of a driver

    def declare_queue(self, queue: QueueConfig) -> None:
        options = read_options(queue, self._settings.queue_type)
        check_name(queue)
        existing = self._queues.get(queue.id) or self._by_name.get(queue.queue_name)
        if existing is None:
            existing = AmqpQueue(queue, options, self._broker)
        elif (existing.name, existing.options) != (queue.queue_name, options):
            raise conflict(
                queue,
                {"queue_name": existing.name, **asdict(existing.options)},
                {"queue_name": queue.queue_name, **asdict(options)},
            )
        self._link.connection  # noqa: B018 - raises when there is none
        if queue.declare:
            existing.is_ours = True
        existing.declare(queue.id)
        self._queues[queue.id] = self._by_name[queue.queue_name] = existing

    def publish(
        self,
        queue: str,
        messages: Sequence[Message],
        *,
        delay: float = 0.0,
        ttl: float | None = None,
        timeout: float = 10.0,
    ) -> None:
        target = self._find(queue)
        if delay > LONGEST_DELAY:
            raise _too_late(delay)
        if not messages or (ttl is not None and ttl <= delay):
            return  # A message would expire before anybody could have it.
        deadline = Deadline(timeout)
        if delay > 0:
            self._link.wait(deadline.left)  # The step that it waits on may have to be declared.
        parcels = self._parcels(target, messages, delay, ttl)
        if target.room is None:
            failed = self._store(queue, parcels, delay, deadline, timeout)
        else:
            failed = self._store_in_room(queue, target.room, parcels, delay, deadline, timeout)
        _raise_failures(failed, len(messages))

    def attach(self, queue: str, credit: int, deliveries: Sink) -> Attachment:
        target = self._find(queue)
        self._link.wait(self._settings.connection_timeout)  # It may be coming back just now.
        connection = self._link.connection
        subscription = Subscription(
            target, credit, deliveries, self._new_intake, self._subscriptions.discard, self._log
        )
        self._subscriptions.add(subscription)
        try:
            subscription.open(connection)
        except BaseException:
            subscription.detach()
            raise
        return subscription

    def info(self, queue: str) -> QueueInfo:
        target = self._find(queue)
        ready, consumers = self._broker.count(target.name)
        delayed = sum(self._broker.count(step)[0] for step in target.steps())
        return QueueInfo(
            ready=ready,
            message_count=ready + target.in_flight + delayed,
            in_flight=target.in_flight,
            delayed=delayed,
            consumer_count=consumers,
            approximate=True,
        )

    def peek(self, queue: str, limit: int) -> list[Message]:  # noqa: ARG002 - it is refused
        self._find(queue)
        raise _not_without_delivering()

    def browse(self, queue: str) -> Iterator[Seen]:
        self._find(queue)
        raise _not_without_delivering()

    def pick(self, queue: str, seen: Sequence[Seen]) -> list[Delivery]:  # noqa: ARG002 - it is refused
        self._find(queue)
        raise _not_without_delivering()

    def take(self, queue: str, limit: int) -> list[Delivery]:
        target = self._find(queue)
        intake = self._taken.get(target.name)
        if intake is None or not intake.is_open:
            intake = self._taken[target.name] = self._new_intake(target)
            lost = intake.lost
            intake.use(self._link.connection.channel(on_closed=lambda _: lost()))
        taken: list[Delivery] = []
        while len(taken) < limit:
            delivery = intake.get()
            if delivery is None:
                break
            taken.append(delivery)
        return taken

    def flush(self, queue: str) -> None:
        intake = self._taken.get(self._find(queue).name)
        self._copier.flush(FLUSH_TIMEOUT)
        if intake is not None:
            intake.flush()

    def purge(self, queue: str) -> int:
        target = self._find(queue)
        return sum(self._broker.purge(name) for name in [target.name, *target.steps()])

    # Their parts

    def _find(self, queue: str) -> AmqpQueue:
        found = self._queues.get(queue)
        if found is None:
            raise QueueNotFound(queue)
        return found

    def _new_intake(self, queue: AmqpQueue) -> Intake:
        return Intake(queue, self._copier, self._move, self._clock)

    def _move(self, queue: str, message: Message) -> None:
        """Stores a dead letter, whatever the bound of its queue."""
        parcels = self._parcels(self._find(queue), [message], 0.0, None)
        failed = self._store(queue, parcels, 0.0, Deadline(MOVE_TIMEOUT), MOVE_TIMEOUT)
        _raise_failures(failed, 1)

    def _parcels(
        self, queue: AmqpQueue, messages: Sequence[Message], delay: float, ttl: float | None
    ) -> list[Parcel]:
        max_frame = self._publisher.max_frame
        name = queue.target(delay)
        expires = None if ttl is None else self._clock.time() + ttl
        # On a step it would send the message on before its time. Rounded up: the broker must not
        # take for expired what is not.
        expiration = None if ttl is None or delay > 0 else str(int(ttl * 1000) + 1)
        return [
            Parcel(
                name,
                message.id,
                first_header(message, expires, expiration, max_frame),
                message.body,
            )
            for message in messages
        ]

    def _store(
        self,
        queue: str,
        parcels: Sequence[Parcel],
        delay: float,
        deadline: Deadline,
        timeout: float,
    ) -> dict[int, WippyError]:
        """Stores messages, and declares their queue again when somebody has deleted it."""
        failed = self._publisher.store(parcels, deadline, timeout)
        missing = [index for index, error in failed.items() if error.kind is Kind.NOT_FOUND]
        if missing:
            target = self._find(queue)
            self._log.warning("queue was deleted at the broker", queue=queue)
            # One that is back too soon keeps the broker from telling its consumers: they went deaf.
            gevent.sleep(min(REBIRTH_PAUSE, deadline.left))
            target.declare(queue)
            target.target(delay)
            again = self._publisher.store([parcels[i] for i in missing], deadline, timeout)
            failed = {i: error for i, error in failed.items() if i not in missing}
            failed |= {missing[slot]: error for slot, error in again.items()}
        return failed

    def _store_in_room(
        self,
        queue: str,
        room: Room,
        parcels: Sequence[Parcel],
        delay: float,
        deadline: Deadline,
        timeout: float,
    ) -> dict[int, WippyError]:
        failed: dict[int, WippyError] = {}
        start = 0
        while start < len(parcels):
            count = room.take(len(parcels) - start, deadline)
            if not count:
                full = QueueFull(queue, room.max_length, timeout)
                return failed | dict.fromkeys(range(start, len(parcels)), full)
            try:
                some = self._store(queue, parcels[start : start + count], delay, deadline, timeout)
            finally:
                room.arrived(count)
            failed |= {start + index: error for index, error in some.items()}
            start += count
        return failed


def _not_without_delivering() -> WippyError:
    return WippyError(
        "RabbitMQ cannot show messages without delivering them, which counts as an attempt",
        kind=Kind.INVALID,
        retryable=False,
    )


def _raise_failures(failed: Mapping[int, WippyError], count: int) -> None:
    if not failed:
        return
    if len(failed) == count:
        raise next(iter(failed.values()))
    raise PublishError(dict(sorted(failed.items())))


def _too_late(delay: float) -> WippyError:
    return WippyError(
        f"a delay of {delay:g}s is over the longest on RabbitMQ, {LONGEST_DELAY:g}s (45 days)",
        kind=Kind.INVALID,
        retryable=False,
    )
