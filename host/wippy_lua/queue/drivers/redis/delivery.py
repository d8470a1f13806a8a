"""Deliveries, and who holds them: a holder is one consumer of a queue's group on the server."""

from __future__ import annotations

from typing import Final, Protocol

from wippy_lua.queue.drivers.redis.entry import Item, decode_entry
from wippy_lua.queue.drivers.redis.outbox import Outbox
from wippy_lua.queue.message import Delivery, Message


class Mover(Protocol):
    """Moves an entry to another queue, as `Delivery.move` does; blocks."""

    def __call__(
        self, outbox: Outbox, priority: bytes, entry: bytes, queue: str, message: Message
    ) -> None: ...


class Holder:
    """Unsettled deliveries under one consumer name; `free` is how many more it may take."""

    def __init__(self, name: str, outbox: Outbox, mover: Mover, credit: int) -> None:
        self.name: Final = name
        self.outbox: Final = outbox
        self.mover: Final = mover
        self.free = credit
        self.held: set[RedisDelivery] = set()

    def take_over(self, item: Item, now: float) -> RedisDelivery:
        """Returns the delivery of an entry that the server has given to this holder."""
        delivery = RedisDelivery(self, item, now)
        self.held.add(delivery)
        self.free -= 1
        return delivery

    def let_go(self, delivery: RedisDelivery) -> bool:
        """Forgets a delivery; tells whether it was still held.

        Its room stays taken until `left`: were it free at once, a host that reads while its
        settlements wait would hold more on the server than its credit, and lose as much in a crash.
        """
        if delivery not in self.held:
            return False
        self.held.remove(delivery)
        return True

    def left(self, count: int) -> None:
        """Frees the room of deliveries that the server holds for this consumer no longer."""
        self.free += count
        self.has_room()

    def has_room(self) -> None:
        """Is called when deliveries have left."""

    def give_back_all(self) -> None:
        """Releases everything, for a driver that stops; later settlements do nothing."""
        for delivery in tuple(self.held):
            delivery.release(0.0, charged=True)


class RedisDelivery(Delivery):
    """One entry of a stream, which is one attempt: its ID never comes again."""

    __slots__ = ("entry", "holder", "leased", "priority")

    def __init__(self, holder: Holder, item: Item, now: float) -> None:
        priority, entry, fields = item
        # Not super().__init__: this runs once per attempt.
        self.message, spent = decode_entry(entry, fields)
        self.attempt = spent + 1
        self.settled = False
        self.holder = holder
        self.priority = priority
        self.entry = entry
        #: When the lease began anew, by the host's monotonic clock.
        self.leased = now

    def ack(self) -> None:
        holder = self.holder
        if holder.let_go(self):
            holder.outbox.ack(holder, self.priority, self.entry)

    def release(self, delay: float, charged: bool) -> None:
        holder = self.holder
        if holder.let_go(self):
            spent = self.attempt if charged else self.attempt - 1
            holder.outbox.release(holder, self.priority, self.entry, delay, spent)

    def move(self, queue: str, message: Message) -> None:
        holder = self.holder
        if self in holder.held:
            # Held until it is done, so that its lease goes on while the server is slow.
            holder.mover(holder.outbox, self.priority, self.entry, queue, message)
            if holder.let_go(self):
                holder.left(1)

    def extend(self, seconds: float) -> None:
        """Does nothing: the driver extends the lease of all that it holds until it is settled."""
