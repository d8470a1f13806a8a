"""One queue on SQS: what is on its way there, and what was received and is not settled.

SQS hands out a message for a time, its visibility timeout: here, the lease. A receipt belongs to
one handing out. An old one is worse than useless: it may still hide or show a message that
somebody else has by now, and a deletion with it "succeeds" without deleting. So a delivery knows
when its lease ends, and settling one later does nothing.

A message comes back in one of two ways. Shown again, it is the same message and SQS counts the
attempt. As a copy that is sent before the old one is deleted, it starts to count anew from what
was spent: so goes what must not be charged, and what has to wait for longer than SQS can hide it.
A FIFO queue knows only the first way, for a copy would lose its place.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import sha256
from math import ceil, inf
from typing import Any, Final
from uuid import uuid4

import msgspec

from wippy_lua.clock import Clock
from wippy_lua.errors import Kind, QueueNotFound, WippyError
from wippy_lua.log import Log
from wippy_lua.queue.driver import QueueInfo
from wippy_lua.queue.drivers.sqs import wire
from wippy_lua.queue.drivers.sqs.api import Api, Settings, stopped
from wippy_lua.queue.drivers.sqs.declare import Place
from wippy_lua.queue.drivers.sqs.delivery import SqsDelivery
from wippy_lua.queue.drivers.sqs.lane import Item, Lane, Result
from wippy_lua.queue.drivers.sqs.publication import Publication
from wippy_lua.queue.drivers.sqs.wire import Raw, Stored
from wippy_lua.queue.message import Message

#: Share of a lease that is not relied on: it began at the broker, before the answer was here.
SAFETY: Final = 0.1

#: A lease is extended once less than this share of it is left.
RENEW_BELOW: Final = 0.7

#: Bytes that a publisher may not use, so that a copy with what was spent still fits.
RESERVE: Final = 256

#: Settlements that may wait to be sent before nothing more is read.
BACKLOG: Final = 1000

#: Seconds that a dead letter may take to be stored.
MOVE_SECONDS: Final = 10.0

#: What is left out of a dead letter that is too large with it, in this order.
_LUXURIES: Final = ("x_error_stack", "x_error")

_DEDUPLICATION_ID: Final = re.compile(r"[!-~]{1,128}")

_COUNTS: Final = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)


class SqsQueue:
    """All that the driver knows of one queue; `find` looks up another one for a move."""

    def __init__(
        self,
        place: Place,
        api: Api,
        settings: Settings,
        find: Callable[[str], SqsQueue],
        clock: Clock,
        log: Log,
    ) -> None:
        self.place = place
        self._api = api
        self._settings = settings
        self._find = find
        self._clock = clock
        self._log = log.bind(queue_name=place.name)
        #: Not settled yet, by receipt.
        self._held: dict[str, SqsDelivery] = {}
        #: When those come back that were given back with a delay: a heap of monotonic times.
        self._hidden: list[float] = []
        self._publications: set[Publication] = set()
        # Only deletions may overtake one another: sent side by side, messages would lose their
        # order, and a lease that was extended could be longer than what was asked for last.
        self._sends = self._lane("send_message_batch", 1)
        self._views = self._lane("change_message_visibility_batch", 1)
        self._deletes = self._lane("delete_message_batch", 4)

    # Publishing

    def publish(
        self, stored: Sequence[Stored], delay: int | None, timeout: float, *, is_copy: bool = False
    ) -> None:
        """Sends messages and blocks until SQS has them, at most `timeout` seconds."""
        now = self._clock.monotonic()
        entries = [self._entry(each, delay, is_copy=is_copy) for each in stored]
        self._check_sizes(entries)
        publication = Publication(len(entries), self._clock)
        items = [
            Item(uuid4().hex, entry, now + timeout, publication.teller(index), size)
            for index, (entry, size) in enumerate(entries)
        ]
        self._publications.add(publication)
        try:
            for item in items:
                self._sends.put(item)
            publication.wait(timeout)
        finally:
            self._publications.discard(publication)
            for item in items:
                self._sends.cancel(item)
        publication.check(items, timeout)

    def _entry(
        self, stored: Stored, delay: int | None, *, is_copy: bool
    ) -> tuple[dict[str, Any], int]:
        """Returns an entry for a batch, and its size."""
        text, attributes = wire.write(stored)
        entry: dict[str, Any] = {"MessageBody": text, "MessageAttributes": attributes}
        if self.place.is_fifo:
            entry |= self._fifo_fields(stored.message, is_copy=is_copy)
        elif delay is not None:
            entry["DelaySeconds"] = delay
        return entry, wire.size_of(text, attributes)

    def _fifo_fields(self, message: Message, *, is_copy: bool) -> dict[str, str]:
        fields = {"MessageGroupId": str(message.headers.get(wire.GROUP_HEADER, self.place.group))}
        given = message.headers.get(wire.DEDUPLICATION_HEADER)
        if is_copy:
            # With the ID of the original it would be taken for it, and dropped.
            fields["MessageDeduplicationId"] = uuid4().hex
        elif given is not None:
            fields["MessageDeduplicationId"] = str(given)
        elif not self.place.hashes_content:
            fields["MessageDeduplicationId"] = _deduplication_id(message.id)
        return fields

    def _check_sizes(self, entries: Sequence[tuple[object, int]]) -> None:
        room = self.place.limit - RESERVE
        for _, size in entries:
            if size > room:
                raise WippyError(
                    f"the message has {size} bytes as SQS counts them (headers too, and base64"
                    f" where the body is no text), over the {room} that queue"
                    f" {self.place.name!r} takes",
                    kind=Kind.INVALID,
                    retryable=False,
                    details={"size": size, "limit": room},
                )

    # Receiving

    @property
    def is_behind(self) -> bool:
        """Tells whether so many settlements wait that reading more would only add to them."""
        return len(self._deletes) + len(self._views) > BACKLOG

    def poll(self, limit: int, wait: int) -> Sequence[Raw]:
        """Returns up to `limit` (1 to 10) messages as they are; blocks up to `wait` seconds."""
        return self._api.receive(self.place.url, limit, wait)

    def accept(self, raws: Sequence[Raw]) -> list[SqsDelivery]:
        """Returns the deliveries of what was polled, but for what has expired or is early."""
        received = self._clock.monotonic()
        deadline = received + (1 - SAFETY) * self._settings.visibility_timeout
        deliveries: list[SqsDelivery] = []
        for raw in raws:
            try:
                stored = wire.read(raw)
            except wire.NewerFormatError as error:
                # Not ours to judge. It comes back after its lease, maybe to a newer host.
                self._log.error("message skipped", error=str(error), sqs_id=raw["MessageId"])
                continue
            attempt = stored.spent + wire.receive_count(raw)
            receipt = raw["ReceiptHandle"]
            delivery = SqsDelivery(self, stored, attempt, receipt, received, deadline)
            self._held[receipt] = delivery
            if self._is_due(delivery):
                deliveries.append(delivery)
        return deliveries

    def _is_due(self, delivery: SqsDelivery) -> bool:
        now = self._clock.time()
        if delivery.stored.expires <= now:
            self.delete(delivery)
            return False
        wait = delivery.stored.due - now
        if wait > 0:
            self.release(delivery, wait, charged=False)
            return False
        return True

    # Settling

    def delete(self, delivery: SqsDelivery) -> None:
        """Removes the message of a delivery."""
        if self._claim(delivery):
            self._put_delete(delivery)

    def release(self, delivery: SqsDelivery, delay: float, charged: bool) -> None:
        """Gives a delivery back, in the way that fits."""
        if not self._claim(delivery):
            return
        left = self._settings.longest_lease - (self._clock.monotonic() - delivery.received)
        if delivery.stored.expires <= self._clock.time():
            self._put_delete(delivery)
        elif self.place.is_fifo:
            if delay > left:
                self._log.warning("delay shortened: SQS hides no longer", delay=delay, left=left)
            self._hide(delivery, min(ceil(delay), max(int(left), 0)))
        elif charged and ceil(delay) <= left:
            self._hide(delivery, ceil(delay))
        else:
            spent = delivery.attempt if charged else delivery.attempt - 1
            self._send_copy(delivery, spent, delay)

    def move(self, delivery: SqsDelivery, queue: str, message: Message) -> None:
        """Copies to another queue, then deletes; raises and keeps the delivery if that fails."""
        target = self._find(queue)
        if self._held.get(delivery.receipt) is not delivery or delivery.moving:
            return
        if self._is_late(delivery):
            self._claim(delivery)
            return
        delivery.moving = True
        try:
            target.store_copy(message)
        finally:
            delivery.moving = False
        self.delete(delivery)

    def store_copy(self, message: Message) -> None:
        """Stores a message that comes from another queue, leaving out what it can do without."""
        for luxury in _LUXURIES:
            if self._entry(Stored(message), 0, is_copy=True)[1] <= self.place.limit - RESERVE:
                break
            headers = {key: value for key, value in message.headers.items() if key != luxury}
            message = msgspec.structs.replace(message, headers=headers)
        self.publish((Stored(message),), 0, MOVE_SECONDS, is_copy=True)

    def extend(self, delivery: SqsDelivery, seconds: float) -> None:
        """Makes the lease at least `seconds` long, within the longest that SQS gives."""
        if self._held.get(delivery.receipt) is not delivery:
            return
        now = self._clock.monotonic()
        left = int(self._settings.longest_lease - (now - delivery.received))
        granted = min(ceil(seconds), left)
        if now + granted <= delivery.deadline:
            return
        deadline = now + (1 - SAFETY) * granted
        done = partial(self._extended, delivery, max(deadline, delivery.deadline))
        self._put_view(delivery, granted, done)

    def renew(self) -> None:
        """Extends the leases of all that is held and needs it."""
        now = self._clock.monotonic()
        lease = self._settings.visibility_timeout
        for delivery in tuple(self._held.values()):
            if now < delivery.deadline < now + RENEW_BELOW * lease:
                self.extend(delivery, lease)

    def _claim(self, delivery: SqsDelivery) -> bool:
        """Takes a delivery out of those that are held; tells whether it may still be settled."""
        if delivery.moving or self._held.get(delivery.receipt) is not delivery:
            return False
        del self._held[delivery.receipt]
        if delivery.attachment is not None:
            delivery.attachment.return_credit()
        if self._is_late(delivery):
            self._warn(delivery, "settled after its lease had ended: the message comes back")
            return False
        return True

    def _is_late(self, delivery: SqsDelivery) -> bool:
        return self._clock.monotonic() >= delivery.deadline

    def _put_delete(self, delivery: SqsDelivery) -> None:
        entry = {"ReceiptHandle": delivery.receipt}
        done = partial(self._settled, delivery)
        self._deletes.put(Item(delivery.receipt, entry, delivery.deadline, done))

    def _hide(self, delivery: SqsDelivery, seconds: int) -> None:
        """Shows a message again after so many seconds."""
        self._put_view(delivery, seconds, partial(self._hid, delivery, seconds))

    def _put_view(
        self, delivery: SqsDelivery, seconds: int, done: Callable[[Result], None]
    ) -> None:
        entry = {"ReceiptHandle": delivery.receipt, "VisibilityTimeout": seconds}
        self._views.put(Item(delivery.receipt, entry, delivery.deadline, done))

    def _send_copy(self, delivery: SqsDelivery, spent: int, delay: float) -> None:
        """Sends a message anew, to be delivered after `delay`, and deletes the old one then."""
        wait = min(ceil(delay), self._settings.longest_delay)
        due = self._clock.time() + delay if delay > wait else 0.0
        stored = Stored(delivery.message, spent, delivery.stored.expires, due)
        entry, size = self._entry(stored, wait, is_copy=True)
        done = partial(self._copied, delivery, ceil(delay))
        self._sends.put(Item(delivery.receipt, entry, delivery.deadline, done, size))

    # What became of a settlement

    def _settled(self, delivery: SqsDelivery, error: Result) -> None:
        if error is not None:
            self._warn(delivery, "not settled: the message comes back", error.message)

    def _hid(self, delivery: SqsDelivery, seconds: int, error: Result) -> None:
        if error is None and seconds:
            heapq.heappush(self._hidden, self._clock.monotonic() + seconds)
        self._settled(delivery, error)

    def _copied(self, delivery: SqsDelivery, seconds: int, error: Result) -> None:
        if error is None:
            self._put_delete(delivery)
        else:
            # The next best: it is shown again, which spends the attempt.
            self._warn(delivery, "given back with the attempt charged", error.message)
            self._hide(delivery, min(seconds, self._settings.longest_delay))

    def _extended(self, delivery: SqsDelivery, deadline: float, error: Result) -> None:
        if error is None:
            delivery.deadline = deadline
        elif not error.retryable and delivery.receipt in self._held:
            delivery.deadline = -inf
            self._warn(delivery, "lease lost: the message comes back", error.message)

    def _warn(self, delivery: SqsDelivery, text: str, error: str = "") -> None:
        cause = {"error": error} if error else {}
        self._log.warning(text, message_id=delivery.message.id, attempt=delivery.attempt, **cause)

    # Operators

    def info(self) -> QueueInfo:
        """Returns SQS's own counts, which are approximate and may lag by a minute.

        SQS counts what waits for a retry as in flight. What this process has given back with a
        delay is known here, and counted as delayed.
        """
        counts = self._api.attributes(self.place.url, _COUNTS)
        ready, not_visible, delayed = (int(counts[name]) for name in _COUNTS)
        now = self._clock.monotonic()
        while self._hidden and self._hidden[0] <= now:
            heapq.heappop(self._hidden)
        hidden = min(len(self._hidden), not_visible)
        return QueueInfo(
            ready=ready,
            message_count=ready + not_visible + delayed,
            in_flight=not_visible - hidden,
            delayed=delayed + hidden,
            approximate=True,
        )

    def take(self, limit: int, wait: int) -> list[SqsDelivery]:
        """Receives up to `limit` messages; `wait` seconds without one are the end."""
        taken: list[SqsDelivery] = []
        while len(taken) < limit:
            raws = self.poll(min(limit - len(taken), 10), wait)
            if not raws:
                break
            taken += self.accept(raws)
        return taken

    def flush(self, timeout: float) -> None:
        """Blocks until no settlement waits to be sent; raises WippyError of kind TIMEOUT."""
        end = self._clock.monotonic() + timeout
        # In this order: a copy that was sent makes a deletion, one that was not a showing.
        for lane in (self._sends, self._views, self._deletes):
            if not lane.join(max(0.0, end - self._clock.monotonic())):
                raise WippyError(
                    f"SQS has not taken within {timeout:g}s how messages were settled",
                    kind=Kind.TIMEOUT,
                    retryable=True,
                )

    def purge(self, wait: int) -> int:
        """Receives and deletes until there is nothing; returns how many were deleted.

        Not by PurgeQueue: that takes what is in flight, too, and for a minute also what is
        published after it.
        """
        removed = 0
        while raws := self.poll(10, wait):
            entries = [{"ReceiptHandle": raw["ReceiptHandle"]} for raw in raws]
            results = self._api.batch("delete_message_batch", self.place.url, entries)
            removed += results.count(None)
        left = self.info().delayed
        if left:
            self._log.warning("purge cannot reach delayed messages on SQS", delayed=left)
        return removed

    # Stopping

    def halt(self) -> None:
        """Fails the publishers that wait, and gives back all that is held."""
        for publication in self._publications:
            publication.fail(stopped())
        for delivery in tuple(self._held.values()):
            if self._claim(delivery):
                self._hide(delivery, 0)
        self._held.clear()

    def drain(self, timeout: float) -> None:
        """Sends what waits to be sent, without trying anything twice."""
        end = self._clock.monotonic() + timeout
        # In this order: a copy that was sent makes a deletion, one that was not a showing.
        for lane in (self._sends, self._views, self._deletes):
            lane.drain(max(0.0, end - self._clock.monotonic()))

    def _lane(self, operation: str, width: int) -> Lane:
        def send(entries: Sequence[Mapping[str, Any]]) -> list[Result]:
            return self._api.batch(operation, self.place.url, entries)

        return Lane(send, width, self._clock)


def check_not_fifo(queue: SqsQueue, what: str) -> None:
    """Raises WippyError of kind INVALID for what FIFO queues cannot do."""
    if queue.place.is_fifo:
        raise WippyError(
            f"queue {queue.place.name!r} is a FIFO queue, which has no {what} of a message",
            kind=Kind.INVALID,
            retryable=False,
        )


def find_queue(queues: Mapping[str, SqsQueue], queue: str) -> SqsQueue:
    """Returns a declared queue; raises QueueNotFound."""
    found = queues.get(queue)
    if found is None:
        raise QueueNotFound(queue)
    return found


def _deduplication_id(message_id: str) -> str:
    """Returns the message's ID where SQS can take it, else a digest of it."""
    if _DEDUPLICATION_ID.fullmatch(message_id):
        return message_id
    return sha256(message_id.encode()).hexdigest()
