"""Deliveries: the channel that they come through, and what their verbs do.

AMQP can put a message back only where it was, at once, and at the price of an attempt on quorum
queues. So a released message is copied to the tail of its queue, or to a step of its ladder, with
the number of its attempts, and acked when the broker has confirmed the copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import gevent
from gevent.event import Event
from gevent.queue import SimpleQueue

from wippy_lua.clock import Clock
from wippy_lua.errors import Kind, WippyError
from wippy_lua.log import Log
from wippy_lua.queue.driver import Sink
from wippy_lua.queue.drivers.amqp.channel import Channel
from wippy_lua.queue.drivers.amqp.connection import Connection
from wippy_lua.queue.drivers.amqp.message import (
    attempt_of,
    copy_properties,
    encode_header,
    expiry_of,
    to_message,
)
from wippy_lua.queue.drivers.amqp.publisher import Fate, Parcel, Publisher
from wippy_lua.queue.drivers.amqp.queues import AmqpQueue
from wippy_lua.queue.drivers.amqp.settlements import Settlements
from wippy_lua.queue.drivers.amqp.wire import Properties
from wippy_lua.queue.message import Delivery, Message

RESUME_SECONDS: Final = 1.0  #: before a consumer that the broker has cancelled asks again
#: Seconds for what is on its way to a consumer that ends, and between looks whether all is there.
ARRIVAL_SECONDS: Final = 0.05
ARRIVAL_LOOK: Final = 0.005

#: Stores a dead letter on a queue, by its ID; raises WippyError.
Move = Callable[[str, Message], None]


class Copier:
    """Copies released messages, then acks them; a greenlet, since both may have to wait."""

    def __init__(self, publisher: Publisher, log: Log) -> None:
        self._publisher = publisher
        self._log = log
        self._waiting: SimpleQueue[Copy] = SimpleQueue()
        self._count = 0
        self._idle = Event()
        self._idle.set()
        self._greenlet: gevent.Greenlet[..., None] | None = None

    def start(self) -> None:
        self._waiting = SimpleQueue()
        self._count = 0
        self._idle.set()
        self._greenlet = gevent.spawn(self._run)

    def stop(self, timeout: float) -> None:
        """Waits for what is on its way, then ends."""
        if self._greenlet is not None:
            self._idle.wait(timeout)
            self._greenlet.kill()
            self._greenlet = None

    def flush(self, timeout: float) -> None:
        """Waits until all copies are settled; raises WippyError of kind TIMEOUT."""
        if not self._idle.wait(timeout):
            raise WippyError(
                f"RabbitMQ has not confirmed within {timeout:g}s what was given back",
                kind=Kind.TIMEOUT,
                retryable=True,
            )

    def put(self, copy: Copy) -> None:
        """Takes a copy, to be sent when its turn comes."""
        self._count += 1
        self._idle.clear()
        self._waiting.put(copy)

    def done(self) -> None:
        """Says that one is settled."""
        self._count -= 1
        if not self._count:
            self._idle.set()

    def again(self, copy: Copy) -> None:
        """Takes a copy whose confirm was lost."""
        self._waiting.put(copy)

    def _run(self) -> None:
        while True:
            copy = self._waiting.get()
            if not copy.delivery.intake.is_open:
                self.done()  # The broker has taken the original back.
                continue
            try:
                self._publisher.send(copy.parcel(self._publisher.max_frame), copy)
            except WippyError as error:
                copy.settle(0, Fate.INVALID, error)

    def report(self, copy: Copy, error: WippyError | None) -> None:
        """Says that a message went back to its old place, not to the tail or after a delay."""
        self._log.warning(
            "released in place",
            queue=copy.queue.name,
            message_id=copy.delivery.message.id,
            error="" if error is None else error.message,
        )


class Copy:
    """A released message on its way to the tail of its queue."""

    __slots__ = ("_attempts", "_copier", "_delay", "_tries", "delivery", "queue")

    def __init__(
        self, copier: Copier, delivery: AmqpDelivery, queue: AmqpQueue, delay: float, attempts: int
    ) -> None:
        self._copier = copier
        self._delay = delay
        self._attempts = attempts
        self._tries = 0
        self.delivery = delivery
        self.queue = queue

    def parcel(self, max_frame: int) -> Parcel:
        """Returns what to send; may declare a step of the ladder. Raises WippyError."""
        delivery = self.delivery
        message = delivery.message
        properties = copy_properties(delivery.properties, message, self._attempts, delivery.expires)
        header = encode_header(properties, len(message.body), max_frame)
        return Parcel(self.queue.target(self._delay), message.id, header, message.body)

    def settle(self, _index: int, fate: Fate, error: WippyError | None) -> None:
        delivery = self.delivery
        if fate is Fate.STORED:
            delivery.intake.ack(delivery.tag)
        elif fate is Fate.LOST or (fate is Fate.UNROUTABLE and not self._tries):
            if fate is Fate.UNROUTABLE:
                self._tries = 1
                self.queue.forget_steps()
            self._copier.again(self)
            return
        elif delivery.intake.is_open:
            self._copier.report(self, error)
            delivery.intake.give_back(delivery.tag)
        self._copier.done()


class AmqpDelivery(Delivery):
    """One delivery of one channel; settled, or its channel gone, its verbs do nothing."""

    __slots__ = ("done", "expires", "intake", "properties", "tag")

    def __init__(
        self,
        intake: Intake,
        message: Message,
        attempt: int,
        tag: int,
        properties: Properties,
        expires: float | None,
    ) -> None:
        # Not super().__init__: this runs once per delivery, and the call costs as much as the rest.
        self.message = message
        self.attempt = attempt
        self.settled = False
        self.intake = intake
        self.tag = tag
        self.properties = properties
        self.expires = expires
        self.done = False

    def ack(self) -> None:
        if not self.done:
            self.done = True
            self.intake.ack(self.tag)

    def release(self, delay: float, charged: bool) -> None:
        if not self.done:
            self.done = True
            self.intake.release(self, delay, self.attempt if charged else self.attempt - 1)

    def move(self, queue: str, message: Message) -> None:
        if not self.done and self.intake.is_open:
            self.intake.move(queue, message)
            self.ack()

    def extend(self, seconds: float) -> None:
        """Does nothing: there is no lease, only the broker's `consumer_timeout`, for all alike."""


class Intake:
    """A channel that deliveries come through; it closes when it is retired and all are settled."""

    def __init__(self, queue: AmqpQueue, copier: Copier, move: Move, clock: Clock) -> None:
        self._queue = queue
        self._copier = copier
        self._clock = clock
        self._channel: Channel | None = None
        self._settlements: Settlements | None = None
        self._unsettled = 0
        self._retired = False
        self.move = move

    def use(self, channel: Channel) -> None:
        """Takes what this channel delivers."""
        self._channel = channel
        self._settlements = Settlements(channel)

    @property
    def is_open(self) -> bool:
        return self._channel is not None and self._channel.is_open

    def get(self) -> AmqpDelivery | None:
        """Takes one message that is ready; None when there is none. Raises WippyError."""
        if self._channel is None:
            return None
        while True:
            name, fields, properties, body = self._channel.call("basic.get", queue=self._queue.name)
            if name == "basic.get-empty":
                return None
            delivery = self.receive(fields, properties, body)
            if delivery is not None:
                return delivery

    def flush(self) -> None:
        """Returns when the broker has all acks so far; raises WippyError."""
        if self._channel is not None:
            # It answers in order, and acks go before calls. Any call would do: this one changes
            # nothing for a channel that has no consumer. On one that is lost it raises, and what
            # was not acked has come back.
            self._channel.call("basic.qos", prefetch_count=0)

    def receive(
        self, fields: dict[str, Any], properties: Properties, body: bytes
    ) -> AmqpDelivery | None:
        """Makes a delivery; None for a message that had expired, which is removed."""
        self._unsettled += 1
        self._queue.in_flight += 1
        tag = fields["delivery_tag"]
        expires = None
        if properties.headers is not None or properties.expiration is not None:
            now = self._clock.time()
            expires = expiry_of(properties, now)
            if expires is not None and expires <= now:
                self.ack(tag)
                return None
        attempt = attempt_of(properties, fields["redelivered"])
        message = to_message(properties, body)
        return AmqpDelivery(self, message, attempt, tag, properties, expires)

    def ack(self, tag: int) -> None:
        if self.is_open and self._settlements is not None:
            self._settlements.ack(tag)
            self._settled()

    def give_back(self, tag: int) -> None:
        if self.is_open and self._settlements is not None:
            self._settlements.give_back(tag)
            self._settled()

    def release(self, delivery: AmqpDelivery, delay: float, attempts: int) -> None:
        if not self.is_open:
            return
        if delivery.expires is not None and delivery.expires <= self._clock.time() + delay:
            self.ack(delivery.tag)  # It would expire before anybody could have it.
            return
        self._copier.put(Copy(self._copier, delivery, self._queue, delay, attempts))

    @contextmanager
    def complete(self, credit: int) -> Iterator[None]:
        """Settles nothing meanwhile, and first waits for what the broker has sent.

        It takes back what is on its way to a consumer that ends, and quorum queues charge an
        attempt for that. Who has all of its credit, and settles nothing, gets no more.
        """
        settlements = self._settlements
        if settlements is None:
            yield
            return
        settlements.hold()
        looks = round(ARRIVAL_SECONDS / ARRIVAL_LOOK)
        while looks and self.is_open and self._unsettled + settlements.unsent < credit:
            gevent.sleep(ARRIVAL_LOOK)
            looks -= 1
        try:
            yield
        finally:
            settlements.let_go()

    def retire(self) -> None:
        """Closes the channel once everything is settled."""
        self._retired = True
        if not self._unsettled and self._channel is not None:
            self._channel.close()

    def lost(self) -> None:
        """Says that the channel is gone, and that the broker has taken back what was unsettled."""
        self._queue.in_flight -= self._unsettled
        self._unsettled = 0

    def _settled(self) -> None:
        self._unsettled -= 1
        self._queue.in_flight -= 1
        if self._retired and not self._unsettled and self._channel is not None:
            self._channel.close()


class Subscription:
    """A consumer of one queue, which comes back after whatever ended it but `detach`."""

    def __init__(
        self,
        queue: AmqpQueue,
        credit: int,
        sink: Sink,
        new_intake: Callable[[AmqpQueue], Intake],
        forget: Callable[[Subscription], None],
        log: Log,
    ) -> None:
        self._queue = queue
        self._credit = credit
        self._sink = sink
        self._new_intake = new_intake
        self._forget = forget
        self._log = log.bind(queue=queue.name)
        self._attached = True
        self._consumes = False
        self._connection: Connection | None = None
        self._channel: Channel | None = None
        self._intake: Intake | None = None
        self._resuming: gevent.Greenlet[..., None] | None = None

    @property
    def connected(self) -> bool:
        return self._attached and self._consumes

    def open(self, connection: Connection) -> None:
        """Begins to consume on a new connection; raises WippyError."""
        self._consumes = False
        intake = self._intake = self._new_intake(self._queue)
        self._connection = connection
        put = self._sink.put
        receive = intake.receive

        def on_event(
            name: str, fields: dict[str, Any], properties: Properties | None, body: bytes
        ) -> None:
            if name == "basic.deliver" and properties is not None:
                delivery = receive(fields, properties, body)
                if delivery is not None:
                    put(delivery)
            elif name == "basic.cancel":
                self._consumes = False
                self.resume("the broker has cancelled the consumer")

        def on_closed(error: WippyError) -> None:
            intake.lost()
            if self._intake is intake:
                self._consumes = False
            self.resume(error.message)

        channel = connection.channel(on_event, on_closed)
        intake.use(channel)
        self._channel = channel
        channel.call("basic.qos", prefetch_count=self._credit)
        # The tag is the client's choice, and unique only within the channel.
        channel.call("basic.consume", queue=self._queue.name, consumer_tag="c")
        self._consumes = channel.is_open
        if not self._attached:
            channel.close()  # It was detached meanwhile.
            intake.lost()

    def detach(self) -> None:
        """Stops new deliveries; waits for the broker to have heard of it."""
        if not self._attached:
            return
        self._attached = False
        self._forget(self)
        if self._resuming is not None:
            self._resuming.kill()
            self._resuming = None
        intake = self._intake
        if intake is not None and self._channel is not None and self._channel.is_open:
            try:
                with intake.complete(self._credit):
                    self._channel.call("basic.cancel", consumer_tag="c")
            except WippyError as error:
                self._log.debug("consumer ended before it was cancelled", error=error.message)
        if intake is not None:
            intake.retire()

    def resume(self, reason: str) -> None:
        """Consumes again in a while, if the connection is still there: a new one does it anyway."""
        connection = self._connection
        if not self._attached or self._resuming is not None:
            return
        if connection is not None and connection.error is None:
            self._log.warning("consumer ended, asking again", reason=reason)
            self._resuming = gevent.spawn(self._reopen, connection)

    def _reopen(self, connection: Connection) -> None:
        try:
            while connection.error is None:
                gevent.sleep(RESUME_SECONDS)
                if self._intake is not None:
                    self._intake.retire()
                try:
                    self._queue.declare(self._queue.name)
                    self.open(connection)
                except WippyError as error:
                    self._log.warning("consuming failed", error=error.message)
                else:
                    return
        finally:
            self._resuming = None
