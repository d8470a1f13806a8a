"""Publishing with confirms: many messages on the way, each publisher told what became of its own.

Every message is `mandatory`, for the broker confirms what no queue takes, too. A message whose
confirm was lost with its connection is sent again: it may be stored twice, and never not at all.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from enum import Enum, auto
from typing import Any, Final, Protocol

import gevent
import msgspec
from gevent.event import Event
from gevent.hub import Waiter
from gevent.lock import Semaphore

from wippy_lua.errors import Kind, WippyError
from wippy_lua.log import Log
from wippy_lua.queue.drivers.amqp import wire
from wippy_lua.queue.drivers.amqp.channel import BrokerError, unavailable
from wippy_lua.queue.drivers.amqp.connection import Connection
from wippy_lua.queue.drivers.amqp.link import Link
from wippy_lua.queue.drivers.amqp.settings import Settings
from wippy_lua.queue.drivers.amqp.wire import MAX_FRAME, Properties

REFUSED_PAUSE: Final = 0.05  #: seconds before a refused message is tried again
PRECONDITION_FAILED: Final = 406


class Fate(Enum):
    """What became of a message that was sent."""

    STORED = auto()
    REFUSED = auto()  #: the queue is full, or has no leader just now
    UNROUTABLE = auto()  #: there is no such queue
    LOST = auto()  #: the connection went before the confirm came
    INVALID = auto()  #: the broker closes the channel over it


WORTH_RETRYING: Final = (Fate.REFUSED, Fate.LOST)


class Sender(Protocol):
    """Who wants to know; `settle` runs in the reader and must not block."""

    def settle(self, index: int, fate: Fate, error: WippyError | None) -> None: ...


class Parcel(msgspec.Struct, frozen=True, gc=False):
    """A message for one broker queue: encoded properties and body."""

    queue: str
    message_id: str | None
    header: bytes
    body: bytes


class Deadline:
    """A point in time, in seconds from now."""

    __slots__ = ("_at",)

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    @property
    def left(self) -> float:
        return max(self._at - time.monotonic(), 0.0)


class ConfirmChannel:
    """A channel on which the broker confirms what it has stored."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._tag = 0
        self._unconfirmed: dict[int, tuple[Parcel, Sender, int]] = {}
        self._returned: Counter[tuple[str, str | None]] = Counter()
        self._methods: dict[str, bytes] = {}
        self._channel = connection.channel(self._on_event, self._on_closed)
        self._channel.call("confirm.select")

    @property
    def is_open(self) -> bool:
        return self._channel.is_open

    def send(self, parcel: Parcel, sender: Sender, index: int) -> None:
        """Queues a message for the wire; `sender` hears of it by `index`."""
        self._tag += 1
        self._unconfirmed[self._tag] = (parcel, sender, index)
        connection = self.connection
        frames = wire.content_frames(
            self._channel.number, parcel.header, parcel.body, connection.max_frame
        )
        # One piece: nothing else of this channel may come in between.
        connection.send(b"".join((self._method(parcel.queue), *frames)))

    def _method(self, queue: str) -> bytes:
        method = self._methods.get(queue)
        if method is None:
            method = self._methods[queue] = wire.method(
                self._channel.number, "basic.publish", routing_key=queue, mandatory=True
            )
        return method

    def _on_event(
        self, name: str, fields: dict[str, Any], properties: Properties | None, _body: bytes
    ) -> None:
        if name == "basic.return":
            message_id = properties.message_id if properties is not None else None
            self._returned[fields["routing_key"], message_id] += 1
        elif name in ("basic.ack", "basic.nack"):
            fate = Fate.STORED if name == "basic.ack" else Fate.REFUSED
            for tag in self._tags(fields["delivery_tag"], fields["multiple"]):
                self._confirm(tag, fate)

    def _tags(self, tag: int, multiple: bool) -> list[int]:
        if not multiple:
            return [tag]
        tags = []
        for earlier in self._unconfirmed:  # They are in the order of their tags.
            if earlier > tag:
                break
            tags.append(earlier)
        return tags

    def _confirm(self, tag: int, fate: Fate) -> None:
        parcel, sender, index = self._unconfirmed.pop(tag)
        if self._returned and self._was_returned(parcel):
            fate = Fate.UNROUTABLE
        sender.settle(index, fate, None)

    def _was_returned(self, parcel: Parcel) -> bool:
        # A return comes before its confirm and has no tag. Of two with one ID and one queue it
        # does not matter which is meant: there is no such queue for either.
        key = (parcel.queue, parcel.message_id)
        if not self._returned[key]:
            return False
        self._returned[key] -= 1
        self._returned += Counter()  # drops the zeros
        return True

    def _on_closed(self, error: WippyError) -> None:
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        refused = 0
        if isinstance(error, BrokerError) and error.code == PRECONDITION_FAILED:
            # The broker does not say which message it cannot bear, only that one is too large.
            refused = max((len(parcel.body) for parcel, _, _ in unconfirmed.values()), default=0)
        for parcel, sender, index in unconfirmed.values():
            if error.kind is Kind.PERMISSION_DENIED or (refused and len(parcel.body) == refused):
                sender.settle(index, Fate.INVALID, error)
            else:
                sender.settle(index, Fate.LOST, error)


class Batch:
    """The messages of one publish that are on their way, and the greenlet that waits for them."""

    __slots__ = ("_left", "_stored", "_waiter", "errors", "fates")

    def __init__(self, count: int) -> None:
        self.fates: list[Fate | None] = [None] * count
        self.errors: dict[int, WippyError] = {}
        self._left = count
        self._stored = True
        self._waiter: Waiter[None] = Waiter()

    @property
    def is_stored(self) -> bool:
        """True when every message is settled, and well."""
        return self._stored and not self._left

    def settle(self, index: int, fate: Fate, error: WippyError | None) -> None:
        self.fates[index] = fate
        if fate is not Fate.STORED:
            self._stored = False
        if error is not None:
            self.errors[index] = error
        self._left -= 1
        if not self._left:
            gevent.get_hub().loop.run_callback(self._waiter.switch, None)

    def wait(self, seconds: float) -> None:
        """Blocks until all are settled or the time is over."""
        if not self._left:
            return
        # An event with a timeout would cost more than twice as much.
        timer = gevent.get_hub().loop.timer(seconds)
        timer.start(self._waiter.switch, None)
        try:
            self._waiter.get()
        finally:
            timer.close()


class Publisher:
    """The connection that publishes: one of its own, since a broker short of memory stops it."""

    def __init__(self, settings: Settings, log: Log) -> None:
        self._link = Link(settings, "publish", self._prepare, log)
        self._channel: ConfirmChannel | None = None
        self._opening = Semaphore()
        #: Bytes of the largest frame that the broker takes, as it said the last time.
        self.max_frame = MAX_FRAME

    @property
    def is_up(self) -> bool:
        return self._link.is_up

    @property
    def reconnects(self) -> int:
        return self._link.reconnects

    def start(self) -> None:
        self._link.start()

    def stop(self) -> None:
        self._link.stop()

    def store(
        self, parcels: Sequence[Parcel], deadline: Deadline, timeout: float
    ) -> dict[int, WippyError]:
        """Sends messages and waits for their confirms; returns the errors of those not stored."""
        failed: dict[int, WippyError] = {}
        waiting: Sequence[int] = range(len(parcels))
        while True:
            batch = Batch(len(waiting))
            self._send(parcels, waiting, batch, deadline)
            batch.wait(deadline.left)
            if batch.is_stored:
                return failed
            for slot, index in enumerate(waiting):
                error = _error(batch, slot, parcels[index], timeout)
                if error is not None:
                    failed[index] = error
            waiting = [i for slot, i in enumerate(waiting) if batch.fates[slot] in WORTH_RETRYING]
            if waiting and Fate.REFUSED in batch.fates:
                gevent.sleep(min(REFUSED_PAUSE, deadline.left))
            if not waiting or not deadline.left or not self._link.is_running:
                return failed
            for index in waiting:
                del failed[index]

    def send(self, parcel: Parcel, sender: Sender) -> None:
        """Sends one message as soon as there is a connection; raises WippyError when stopped."""
        while True:
            try:
                self._ready(None).send(parcel, sender, 0)
            except WippyError as error:
                if error.kind is not Kind.UNAVAILABLE or not self._link.is_running:
                    raise
            else:
                return

    def _send(
        self, parcels: Sequence[Parcel], waiting: Sequence[int], batch: Batch, deadline: Deadline
    ) -> None:
        for slot, index in enumerate(waiting):
            try:
                channel = self._ready(deadline)
            except WippyError as error:
                fate = Fate.LOST if error.kind is Kind.UNAVAILABLE else Fate.INVALID
                for left in range(slot, len(waiting)):
                    batch.settle(left, fate, error)
                return
            channel.send(parcels[index], batch, slot)

    def _prepare(self, connection: Connection) -> None:
        self._channel = ConfirmChannel(connection)
        self.max_frame = connection.max_frame

    def _ready(self, deadline: Deadline | None) -> ConfirmChannel:
        """Returns a channel that takes messages; waits for one until the deadline."""
        while True:
            channel = self._channel
            if channel is not None and channel.is_open:
                connection = channel.connection
                if connection.unblocked.is_set() and connection.drained.is_set():
                    return channel
                obstacle = connection.unblocked
                if obstacle.is_set():
                    obstacle = connection.drained
                reason = f"RabbitMQ lets nobody publish: {connection.blocked_reason}"
                _wait(obstacle, deadline, unavailable(reason))
                continue
            self._reopen(deadline)

    def _reopen(self, deadline: Deadline | None) -> None:
        """Waits for a connection; or opens the channel anew where only that was closed."""
        if not self._link.is_running:
            raise unavailable("the amqp driver is not started")
        left = None if deadline is None else deadline.left
        self._link.wait(left)
        connection = self._link.connection
        with self._opening:
            if self._channel is None or not self._channel.is_open:
                self._prepare(connection)


def _wait(event: Event, deadline: Deadline | None, late: WippyError) -> None:
    if not event.wait(None if deadline is None else deadline.left):
        raise late


def _error(batch: Batch, slot: int, parcel: Parcel, timeout: float) -> WippyError | None:
    match batch.fates[slot]:
        case Fate.STORED:
            return None
        case None:
            return WippyError(
                f"RabbitMQ has not confirmed the message within {timeout:g}s; it may be stored",
                kind=Kind.TIMEOUT,
                retryable=True,
            )
        case Fate.REFUSED:
            return unavailable(f"RabbitMQ refuses messages for {parcel.queue!r}: the queue is full")
        case Fate.UNROUTABLE:
            return WippyError(
                f"RabbitMQ has no queue {parcel.queue!r} any more",
                kind=Kind.NOT_FOUND,
                retryable=True,
            )
        case _:
            return batch.errors.get(slot) or unavailable("the connection to RabbitMQ broke")
