"""One queue of the memory driver, and what it is made of.

A message that waits is its own next delivery: one object per attempt, in one of four states.

    DELAYED -> READY -> IN_FLIGHT -> GONE

A release makes the object of the next attempt, so a delivery that was settled, or taken back
because the driver stopped, knows by its own state that its verbs mean nothing any more. What
keeps this fast is what it does not do: no greenlet and no timer per message, no search. A queue
has one timer for its next event, and whoever looks at the queue first catches up with the clock,
so that counts are exact however late the timer is.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import islice
from math import inf
from typing import Final

from gevent.event import Event

from wippy_lua.clock import Clock, Timer
from wippy_lua.errors import QueueNotFound, WippyError
from wippy_lua.queue.driver import QueueInfo, Seen, Sink
from wippy_lua.queue.message import Delivery, Message, priority_of

#: Seconds between two runs of a queue's timer, at least: a flood of expiries shares them.
TIMER_GRAIN: Final = 0.001

#: How many dead items a lane or a schedule may hold beyond the number of its live ones.
SLACK: Final = 64

_DELAYED: Final = 0
_READY: Final = 1
_IN_FLIGHT: Final = 2
_GONE: Final = 3


class MemoryDelivery(Delivery):
    """One attempt, from the moment its message begins to wait for it."""

    __slots__ = ("attachment", "expires", "queue", "sequence", "state")

    def __init__(
        self, queue: MemoryQueue, message: Message, attempt: int, sequence: int, expires: float
    ) -> None:
        # Not super().__init__: this runs once per attempt, and the call costs as much as the rest.
        self.message = message
        self.attempt = attempt
        self.settled = False
        self.queue = queue
        self.sequence = sequence
        self.expires = expires
        self.state = _READY
        self.attachment: MemoryAttachment | None = None

    def ack(self) -> None:
        if self.state == _IN_FLIGHT:
            self.queue.end(self)
            self.queue.return_credit(self.attachment)

    def release(self, delay: float, charged: bool) -> None:
        if self.state == _IN_FLIGHT:
            self.queue.restore(self, delay, charged)
            self.queue.return_credit(self.attachment)

    def move(self, queue: str, message: Message) -> None:
        if self.state == _IN_FLIGHT:
            target = find_queue(self.queue.peers, queue)
            self.queue.end(self)
            target.add(message, 0.0, inf)
            self.queue.return_credit(self.attachment)

    def extend(self, seconds: float) -> None:
        """Does nothing: a delivery in this process has no lease to lose."""


class MemoryAttachment:
    """A consumer of a queue; `free` is how many more deliveries it may hold."""

    __slots__ = ("attached", "free", "put", "queue")

    def __init__(self, queue: MemoryQueue, credit: int, sink: Sink) -> None:
        self.queue = queue
        self.free = credit
        self.put = sink.put
        self.attached = True

    @property
    def connected(self) -> bool:
        return self.attached

    def detach(self) -> None:
        self.queue.detach(self)


class Publisher:
    """A publisher that waits for room; `stored` counts its messages that found some."""

    __slots__ = ("due", "expires", "failure", "messages", "stored", "woken")

    def __init__(self, messages: Sequence[Message], due: float, expires: float) -> None:
        self.messages = messages
        self.due = due
        self.expires = expires
        self.stored = 0
        self.failure: WippyError | None = None
        self.woken = Event()

    @property
    def is_done(self) -> bool:
        return self.stored == len(self.messages)


class Schedule:
    """Sequence numbers by time; those that left `alive` are forgotten now and then, not at once."""

    __slots__ = ("_alive", "_items", "_limit", "_order")

    def __init__(self, alive: Container[int]) -> None:
        self._alive = alive
        self._items: list[tuple[float, int, int]] = []
        self._order = 0
        self._limit = SLACK

    def push(self, when: float, sequence: int) -> None:
        """Adds an event; of two at the same time the one added first comes first."""
        self._order += 1
        heapq.heappush(self._items, (when, self._order, sequence))
        if len(self._items) > self._limit:
            self._items = [item for item in self._items if item[2] in self._alive]
            heapq.heapify(self._items)
            # Twice what is left: so the work is paid for by the pushes until the next time.
            self._limit = 2 * len(self._items) + SLACK

    def first(self) -> float:
        """Returns the time of the first event that is alive; `inf` when there is none."""
        while self._items and self._items[0][2] not in self._alive:
            heapq.heappop(self._items)
        return self._items[0][0] if self._items else inf

    def pop_due(self, now: float) -> Iterator[int]:
        """Removes and yields what is due, in order."""
        while self._items and self._items[0][0] <= now:
            yield heapq.heappop(self._items)[2]

    def __bool__(self) -> bool:
        return bool(self._items)


class Lanes:
    """Ready deliveries: first by priority, then by arrival. `count` leaves out those that expired.

    An expired delivery stays in its lane as a corpse until it is met or corpses are too many.
    """

    __slots__ = ("_corpses", "_lanes", "_top", "count")

    def __init__(self) -> None:
        self._lanes: list[deque[MemoryDelivery]] = [deque() for _ in range(10)]
        self._top = 0  # No lane above this one holds anything.
        self._corpses = 0
        self.count = 0

    def append(self, delivery: MemoryDelivery) -> None:
        priority = priority_of(delivery.message)
        self._lanes[priority].append(delivery)
        if priority > self._top:
            self._top = priority
        self.count += 1

    def pop(self) -> MemoryDelivery:
        """Removes and returns the next one; there must be one."""
        while True:
            while not self._lanes[self._top]:
                self._top -= 1
            delivery = self._lanes[self._top].popleft()
            if delivery.state == _READY:
                self.count -= 1
                return delivery
            self._corpses -= 1

    def bury(self) -> None:
        """Counts one delivery less, which has just left the state READY without being popped."""
        self.count -= 1
        self._corpses += 1
        if self._corpses > self.count + SLACK:
            self._lanes = [deque(d for d in lane if d.state == _READY) for lane in self._lanes]
            self._corpses = 0

    def clear(self) -> None:
        for lane in self._lanes:
            lane.clear()
        self._corpses = self.count = 0

    def __iter__(self) -> Iterator[MemoryDelivery]:
        for lane in reversed(self._lanes):
            yield from (delivery for delivery in lane if delivery.state == _READY)


class MemoryQueue:
    """One queue. No method but `wait_for_room` lets another greenlet run.

    A sink may call back from its `put`, which is why `put` always comes after the change of state.
    """

    def __init__(
        self, name: str, max_length: int, clock: Clock, peers: Mapping[str, MemoryQueue]
    ) -> None:
        self.name = name
        self.max_length = max_length
        self.peers = peers
        self._clock = clock
        #: By sequence number, which a message keeps for all its attempts.
        self._unsettled: dict[int, MemoryDelivery] = {}
        self._sequence = 0
        self._ready = Lanes()
        self._delayed = 0
        self._agenda = Schedule(self._unsettled)
        self._timer: Timer | None = None
        self._timer_at = inf
        self._newest = 0.0
        self._late = Schedule(self._unsettled)
        self._attachments: set[MemoryAttachment] = set()
        #: Attachments with credit, the next one to be served first.
        self._idle: deque[MemoryAttachment] = deque()
        self._publishers: deque[Publisher] = deque()
        self._pumping = False

    # What a message goes through

    def add(self, message: Message, due: float, expires: float) -> None:
        """Stores a message whether or not there is room; times are the clock's monotonic ones."""
        self._sequence = sequence = self._sequence + 1
        delivery = MemoryDelivery(self, message, 1, sequence, expires)
        self._unsettled[sequence] = delivery
        # The oldest message is the first in `_unsettled`, but for those that came late:
        # moved from another queue, or published while the wall clock was set back.
        if message.published_at < self._newest:
            self._late.push(message.published_at, sequence)
        else:
            self._newest = message.published_at
        if expires != inf:
            self._agenda.push(expires, sequence)
        self._place(delivery, due)

    def restore(self, delivery: MemoryDelivery, delay: float, charged: bool) -> None:
        """Puts the next attempt of an unsettled delivery at the tail; needs no room."""
        delivery.state = _GONE
        again = MemoryDelivery(
            self,
            delivery.message,
            delivery.attempt + 1 if charged else delivery.attempt,
            delivery.sequence,
            delivery.expires,
        )
        self._unsettled[delivery.sequence] = again
        self._place(again, self._clock.monotonic() + delay if delay > 0 else 0.0)

    def end(self, delivery: MemoryDelivery) -> None:
        """Removes the message for good."""
        delivery.state = _GONE
        del self._unsettled[delivery.sequence]

    def return_credit(self, attachment: MemoryAttachment | None) -> None:
        """Lets a consumer have another delivery; None is an operator, who has no credit."""
        if attachment is not None:
            attachment.free += 1
            if attachment.free == 1 and attachment.attached:
                self._idle.append(attachment)
        if self._ready.count:
            self.pump()

    def _place(self, delivery: MemoryDelivery, due: float) -> None:
        if due or delivery.expires != inf:
            self._place_timed(delivery, due)
        elif self._idle and not self._ready.count:
            self._hand_over(delivery)
        else:
            self._ready.append(delivery)
            if self._idle:
                self.pump()

    def _place_timed(self, delivery: MemoryDelivery, due: float) -> None:
        now = self._clock.monotonic()
        if delivery.expires <= now:
            self.end(delivery)
            return
        if due > now:
            delivery.state = _DELAYED
            self._delayed += 1
            self._agenda.push(due, delivery.sequence)
        else:
            self._ready.append(delivery)
        self.pump()

    def _hand_over(self, delivery: MemoryDelivery) -> None:
        attachment = self._idle[0]
        attachment.free -= 1
        if not attachment.free:
            self._idle.popleft()
        elif len(self._idle) > 1:
            self._idle.rotate(-1)
        delivery.attachment = attachment
        delivery.state = _IN_FLIGHT
        attachment.put(delivery)

    # Bringing everything as far as it can go

    def pump(self) -> None:
        """Delivers what is ready to those with credit and lets publishers in, until neither can."""
        if self._pumping:  # Called by a sink that settles at once: the loop below goes on with it.
            return
        self._pumping = True
        try:
            self._catch_up()
            while True:
                while self._ready.count and self._idle:
                    self._hand_over(self._ready.pop())
                if not self._admit():
                    break
        finally:
            self._pumping = False
        self._set_timer()

    def _catch_up(self) -> None:
        """Lets happen what was due by now; delivers nothing."""
        if not self._agenda:
            return
        now = self._clock.monotonic()
        for sequence in self._agenda.pop_due(now):
            delivery = self._unsettled.get(sequence)
            if delivery is None or delivery.state == _IN_FLIGHT:
                continue  # Settled; or held by a consumer, and `restore` looks at the expiry.
            if delivery.expires <= now:
                self._expire(delivery)
            elif delivery.state == _DELAYED:
                delivery.state = _READY
                self._delayed -= 1
                self._ready.append(delivery)

    def _expire(self, delivery: MemoryDelivery) -> None:
        was_ready = delivery.state == _READY
        self.end(delivery)
        if was_ready:
            self._ready.bury()
        else:
            self._delayed -= 1

    def _set_timer(self) -> None:
        first = self._agenda.first()
        if first == inf or (self._timer is not None and self._timer_at <= first):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = first
        wait = max(first - self._clock.monotonic(), TIMER_GRAIN)
        self._timer = self._clock.call_later(wait, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.pump()

    # Publishers that wait for room

    def has_room(self, count: int) -> bool:
        """Tells whether so many messages can be added without passing a publisher that waits."""
        waiting = self._ready.count + self._delayed
        return not self._publishers and waiting + count <= self.max_length

    def wait_for_room(self, publisher: Publisher, timeout: float) -> None:
        """Stores the publisher's messages in its turn; blocks at most `timeout` seconds."""
        self._publishers.append(publisher)
        try:
            self.pump()
            if timeout > 0 and not publisher.is_done:
                timer = self._clock.call_later(timeout, publisher.woken.set)
                try:
                    publisher.woken.wait()
                finally:
                    timer.cancel()
        finally:
            if not publisher.is_done:
                self._publishers.remove(publisher)

    def _admit(self) -> bool:
        """Stores what there is room for; tells whether that was anything."""
        admitted = False
        while self._publishers and self._ready.count + self._delayed < self.max_length:
            publisher = self._publishers[0]
            publisher.stored += 1
            if publisher.is_done:
                self._publishers.popleft()
                publisher.woken.set()
            message = publisher.messages[publisher.stored - 1]
            self.add(message, publisher.due, publisher.expires)
            admitted = True
        return admitted

    # Consumers

    def attach(self, credit: int, sink: Sink) -> MemoryAttachment:
        attachment = MemoryAttachment(self, credit, sink)
        self._attachments.add(attachment)
        self._idle.append(attachment)
        self.pump()
        return attachment

    def detach(self, attachment: MemoryAttachment) -> None:
        if not attachment.attached:
            return
        attachment.attached = False
        self._attachments.remove(attachment)
        if attachment.free:
            self._idle.remove(attachment)

    def halt(self, failure: WippyError) -> None:
        """Detaches all, takes back what is in flight and fails the publishers that wait."""
        for attachment in list(self._attachments):
            self.detach(attachment)
        for delivery in list(self._unsettled.values()):
            if delivery.state == _IN_FLIGHT:
                self.restore(delivery, 0.0, charged=True)
        for publisher in self._publishers:
            publisher.failure = failure
            publisher.woken.set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Operators

    def info(self) -> QueueInfo:
        self._catch_up()
        ready, total = self._ready.count, len(self._unsettled)
        return QueueInfo(
            ready=ready,
            message_count=total,
            in_flight=total - ready - self._delayed,
            delayed=self._delayed,
            consumer_count=len(self._attachments),
            oldest_age=self._oldest_age(),
        )

    def _oldest_age(self) -> float | None:
        if not self._unsettled:
            return None
        first = next(iter(self._unsettled.values()))
        oldest = min(first.message.published_at, self._late.first())
        return max(self._clock.time() - oldest, 0.0)

    def peek(self, limit: int) -> list[Message]:
        return [seen.message for seen in islice(self.browse(), limit)]

    def browse(self) -> Iterator[Seen]:
        self._catch_up()
        yield from (Seen(d.message, d) for d in tuple(self._ready) if d.state == _READY)

    def pick(self, seen: Sequence[Seen]) -> list[Delivery]:
        self._catch_up()
        picked: list[Delivery] = []
        for each in seen:
            delivery = each.place
            if isinstance(delivery, MemoryDelivery) and delivery.state == _READY:
                delivery.state = _IN_FLIGHT
                self._ready.bury()
                picked.append(delivery)
        self.pump()
        return picked

    def take(self, limit: int) -> list[Delivery]:
        self._catch_up()
        taken: list[Delivery] = []
        while self._ready.count and len(taken) < limit:
            delivery = self._ready.pop()
            delivery.state = _IN_FLIGHT
            taken.append(delivery)
        self.pump()
        return taken

    def purge(self) -> int:
        self._catch_up()
        waiting = [d for d in self._unsettled.values() if d.state != _IN_FLIGHT]
        for delivery in waiting:
            self.end(delivery)
        self._ready.clear()
        self._delayed = 0
        self.pump()
        return len(waiting)


def find_queue(queues: Mapping[str, MemoryQueue], queue: str) -> MemoryQueue:
    found = queues.get(queue)
    if found is None:
        raise QueueNotFound(queue)
    return found
