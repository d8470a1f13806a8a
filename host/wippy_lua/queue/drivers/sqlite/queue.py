"""One queue of the SQLite driver as this process sees it: consumers, and publishers that wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from math import inf
from typing import Final, Protocol

import gevent
from gevent.hub import Waiter

from wippy_lua.errors import PublishError, QueueFull, QueueNotFound, WippyError
from wippy_lua.queue.driver import Sink
from wippy_lua.queue.drivers.sqlite.group import Held, Publishing
from wippy_lua.queue.drivers.sqlite.rows import Found, Row
from wippy_lua.queue.message import Delivery, Message

#: Messages that one claim takes at most: a claim for more would keep others from the file.
MOST_AT_ONCE: Final = 1000


class Settlements(Protocol):
    """What a delivery tells: the session that it belongs to. Nothing happens in a closed one."""

    @property
    def is_open(self) -> bool: ...
    def ack(self, queue: SqliteQueue, held: Held) -> None: ...
    def release(self, queue: SqliteQueue, held: Held, delay: float, charged: bool) -> None: ...
    def move(self, queue: SqliteQueue, held: Held, target: str, message: Message) -> None: ...
    def extend(self, held: Held, seconds: float) -> None: ...


class SqliteDelivery(Delivery):
    """One claim of one message."""

    __slots__ = ("attachment", "held", "is_done", "queue", "session")

    def __init__(
        self,
        session: Settlements,
        queue: SqliteQueue,
        found: Found,
        attachment: SqliteAttachment | None,
    ) -> None:
        super().__init__(found.message, found.attempt)
        self.session = session
        self.queue = queue
        self.held = Held(queue.number, found.id, found.claim)
        self.attachment = attachment
        self.is_done = False

    def ack(self) -> None:
        if self.session.is_open and not self.is_done:
            self._finish()
            self.session.ack(self.queue, self.held)

    def release(self, delay: float, charged: bool) -> None:
        if self.session.is_open and not self.is_done:
            self._finish()
            self.session.release(self.queue, self.held, delay, charged)

    def move(self, queue: str, message: Message) -> None:
        if self.session.is_open and not self.is_done:
            self.session.move(self.queue, self.held, queue, message)  # may refuse: before the rest
            self._finish()

    def extend(self, seconds: float) -> None:
        if self.session.is_open and not self.is_done:
            self.session.extend(self.held, seconds)

    def _finish(self) -> None:
        self.is_done = True
        if self.attachment is not None:
            self.queue.return_credit(self.attachment)


class FileState:
    """How the file does: its session finds out, everybody may look."""

    __slots__ = ("recoveries", "works")

    def __init__(self) -> None:
        self.works = False
        self.recoveries = 0


class SqliteAttachment:
    """A consumer of a queue; `free` is how many more deliveries it may hold."""

    __slots__ = ("attached", "free", "put", "queue")

    def __init__(self, queue: SqliteQueue, credit: int, sink: Sink) -> None:
        self.queue = queue
        self.free = credit
        self.put = sink.put
        self.attached = True

    @property
    def connected(self) -> bool:
        return self.attached and self.queue.file.works

    def detach(self) -> None:
        self.queue.detach(self)


class Publisher:
    """A publish that is not over; `stored` counts its messages that are on the disk.

    `on_its_way` is what a transaction does for it just now, `tried` whether one has looked for
    room. Times are the clock's monotonic ones, but `due` and `expires`, which are Unix times.
    """

    __slots__ = (
        "deadline",
        "due",
        "expires",
        "failure",
        "on_its_way",
        "rows",
        "since",
        "stored",
        "timeout",
        "tried",
        "woken",
    )

    def __init__(
        self, rows: Sequence[Row], due: float, expires: float, timeout: float, now: float
    ) -> None:
        self.rows = rows
        self.due = due
        self.expires = expires
        self.timeout = timeout
        self.since = now
        self.deadline = now + timeout
        self.stored = 0
        self.tried = False
        self.on_its_way: Publishing | None = None
        self.failure: WippyError | None = None
        self.woken: Waiter[None] = Waiter()

    @property
    def is_over(self) -> bool:
        return self.stored == len(self.rows) or self.failure is not None

    def give_up(self, failure: WippyError) -> None:
        """Ends the publish; a transaction that has not come to it leaves it out."""
        self.failure = failure
        if self.on_its_way is not None:
            self.on_its_way.is_dropped = True

    def check(self) -> None:
        """Raises when some or all of the messages were not stored."""
        if self.failure is None:
            return
        if not self.stored:
            raise self.failure
        raise PublishError(dict.fromkeys(range(self.stored, len(self.rows)), self.failure))


def _wake(publishers: Sequence[Publisher]) -> None:
    """Runs in the hub: it must not block, and a waiter may be switched to from there only."""
    for publisher in publishers:
        publisher.woken.switch(None)


class SqliteQueue:
    """A queue, its consumers and its publishers; of the file it knows only how that does."""

    def __init__(
        self, queue_id: str, name: str, number: int, max_length: int | None, file: FileState
    ) -> None:
        self.id = queue_id
        self.file = file
        self.name = name
        self.number = number
        self.max_length = max_length
        #: In the order in which they get room.
        self.publishers: deque[Publisher] = deque()
        #: There may be ready messages that no claim of this process has met.
        self.unread = True
        self.attachments: set[SqliteAttachment] = set()
        #: Attachments with credit, the next one to be served first.
        self._idle: deque[SqliteAttachment] = deque()

    @property
    def is_idle(self) -> bool:
        """Tells whether nobody here waits for a message or for room."""
        return not self._idle and not self.publishers

    def demand(self) -> int:
        """Returns how many messages the consumers can take, up to what one claim should."""
        return min(sum(attachment.free for attachment in self._idle), MOST_AT_ONCE)

    def attach(self, credit: int, sink: Sink) -> SqliteAttachment:
        attachment = SqliteAttachment(self, credit, sink)
        self.attachments.add(attachment)
        self._idle.append(attachment)
        return attachment

    def detach(self, attachment: SqliteAttachment) -> None:
        if attachment.attached:
            attachment.attached = False
            self.attachments.remove(attachment)
            if attachment.free:
                self._idle.remove(attachment)

    def return_credit(self, attachment: SqliteAttachment) -> None:
        attachment.free += 1
        if attachment.free == 1 and attachment.attached:
            self._idle.append(attachment)

    def take_credit(self) -> SqliteAttachment | None:
        """Returns the consumer that gets the next message, None when there is none any more."""
        if not self._idle:
            return None
        attachment = self._idle[0]
        attachment.free -= 1
        if not attachment.free:
            self._idle.popleft()
        elif len(self._idle) > 1:
            self._idle.rotate(-1)
        return attachment

    def to_publish(self) -> list[Publisher]:
        """Returns publishers with what is on its way for them: no more than can find room."""
        wanted: list[Publisher] = []
        room = inf if self.max_length is None else self.max_length
        for publisher in self.publishers:
            if room <= 0:
                break
            rows = publisher.rows
            if publisher.stored or len(rows) > room:
                rows = rows[publisher.stored : publisher.stored + int(room)]
            room -= len(rows)
            publisher.on_its_way = Publishing(
                self.number, rows, publisher.due, publisher.expires, self.max_length
            )
            wanted.append(publisher)
        return wanted

    def drop_finished(self) -> None:
        """Forgets the publishers that are over, and wakes them in the hub's next turn."""
        over: list[Publisher] = []
        waiting: deque[Publisher] = deque()
        for publisher in self.publishers:
            (over if publisher.is_over else waiting).append(publisher)
        self.publishers = waiting
        if over:
            gevent.get_hub().loop.run_callback(_wake, over)

    def full(self, publisher: Publisher) -> QueueFull:
        return QueueFull(self.id, self.max_length or 0, publisher.timeout)


class Queues:
    """The queues that were declared; two IDs may share one."""

    def __init__(self) -> None:
        self._by_id: dict[str, SqliteQueue] = {}
        self._by_number: dict[int, SqliteQueue] = {}

    def add(self, queue_id: str, queue: SqliteQueue) -> None:
        self._by_id[queue_id] = queue
        self._by_number[queue.number] = queue

    def find(self, queue_id: str) -> SqliteQueue:
        """Returns a queue by its ID; raises QueueNotFound."""
        queue = self._by_id.get(queue_id)
        if queue is None:
            raise QueueNotFound(queue_id)
        return queue

    def get(self, queue_id: str) -> SqliteQueue | None:
        return self._by_id.get(queue_id)

    def numbered(self, number: int) -> SqliteQueue | None:
        """Returns a queue by its number in the file; None when only others use it."""
        return self._by_number.get(number)

    def __iter__(self) -> Iterator[SqliteQueue]:
        return iter(tuple(self._by_number.values()))
