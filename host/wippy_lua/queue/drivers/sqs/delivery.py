"""What a consumer of SQS holds: deliveries, and the greenlet that fetches them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import gevent
from gevent.event import Event

from wippy_lua.errors import WippyError
from wippy_lua.log import Log
from wippy_lua.queue.driver import Sink
from wippy_lua.queue.drivers.sqs.api import BATCH
from wippy_lua.queue.drivers.sqs.wire import Stored
from wippy_lua.queue.message import Delivery, Message

if TYPE_CHECKING:
    from wippy_lua.queue.drivers.sqs.queue import SqsQueue

#: Seconds between two polls that may not wait and find nothing; it grows from one to the other.
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 0.2

#: The same after a poll that failed.
FIRST_RETRY: Final = 0.5
LONGEST_RETRY: Final = 5.0


class SqsDelivery(Delivery):
    """One attempt; the queue that it came from knows what its verbs mean.

    `deadline` is when its lease ends, `received` when it began: both the clock's monotonic time.
    """

    __slots__ = ("attachment", "deadline", "moving", "queue", "receipt", "received", "stored")

    def __init__(
        self,
        queue: SqsQueue,
        stored: Stored,
        attempt: int,
        receipt: str,
        received: float,
        deadline: float,
    ) -> None:
        super().__init__(stored.message, attempt)
        self.queue = queue
        self.stored = stored
        self.receipt = receipt
        self.received = received
        self.deadline = deadline
        self.moving = False
        #: Who has a credit less for it; None for an operator.
        self.attachment: SqsAttachment | None = None

    def ack(self) -> None:
        self.queue.delete(self)

    def release(self, delay: float, charged: bool) -> None:
        self.queue.release(self, delay, charged)

    def move(self, queue: str, message: Message) -> None:
        self.queue.move(self, queue, message)

    def extend(self, seconds: float) -> None:
        """Asks for a lease of at least `seconds`; it has what it has until SQS agrees."""
        self.queue.extend(self, seconds)


class SqsAttachment:
    """A consumer of a queue and the greenlet that polls for it, never for more than its credit."""

    def __init__(
        self,
        queue: SqsQueue,
        credit: int,
        sink: Sink,
        wait: int,
        log: Log,
        forget: Callable[[SqsAttachment], None],
    ) -> None:
        self._queue = queue
        self._sink = sink
        self._wait = wait
        self._log = log
        self._forget = forget
        self._free = credit
        self._room = Event()
        self._detached = Event()
        self._idle = 0.0
        self._trouble = 0.0
        self.reader = gevent.spawn(self._run)

    @property
    def connected(self) -> bool:
        """Whether the last poll was answered."""
        return not self._detached.is_set() and not self._trouble

    def detach(self) -> None:
        """Stops delivery. A poll that is under way ends by itself, and what it brings goes back."""
        self._detached.set()
        self._room.set()

    def return_credit(self) -> None:
        """Lets the consumer have another delivery."""
        self._free += 1
        self._room.set()

    def _run(self) -> None:
        try:
            while not self._detached.is_set():
                if self._free <= 0:
                    self._room.clear()
                    self._room.wait()
                elif self._queue.is_behind:
                    self._detached.wait(LONGEST_PAUSE)
                else:
                    self._fetch()
        finally:
            self._forget(self)

    def _fetch(self) -> None:
        try:
            deliveries = self._poll()
        except Exception as error:  # noqa: BLE001 - a reader must survive: nobody would read any more
            self._report(error)
            self._trouble = min(max(2 * self._trouble, FIRST_RETRY), LONGEST_RETRY)
            self._detached.wait(self._trouble)
            return
        if self._trouble:
            self._trouble = 0.0
            self._log.info("queue is read again")
        for delivery in deliveries:
            self._hand_over(delivery)

    def _poll(self) -> Sequence[SqsDelivery]:
        raws = self._queue.poll(min(self._free, BATCH), self._wait)
        if raws:
            self._idle = 0.0
        elif not self._wait:
            self._idle = min(max(2 * self._idle, FIRST_PAUSE), LONGEST_PAUSE)
            self._detached.wait(self._idle)
        return self._queue.accept(raws)

    def _hand_over(self, delivery: SqsDelivery) -> None:
        if self._detached.is_set():
            delivery.release(0.0, charged=False)
        else:
            self._free -= 1
            delivery.attachment = self
            self._sink.put(delivery)

    def _report(self, error: Exception) -> None:
        if isinstance(error, WippyError):
            if not self._trouble:  # Once for each outage.
                self._log.error("queue cannot be read", error=error.message, kind=error.kind.value)
        else:
            self._log.error("reading the queue failed", exc_info=error)
