"""The SQLite driver between a start and a stop: gathers what greenlets want, and has it done.

One greenlet runs groups on one native thread. While a group is on its way to the disk, whatever
comes meanwhile gathers and becomes the next group: so a commit costs the same for one message as
for a thousand, and no message waits for a timer.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import gevent
from gevent.event import Event

from wippy_lua.clock import Clock
from wippy_lua.errors import Kind, WippyError
from wippy_lua.log import Log
from wippy_lua.queue.driver import Sink
from wippy_lua.queue.drivers.sqlite.alarm import Alarm
from wippy_lua.queue.drivers.sqlite.group import (
    Extension,
    Group,
    Held,
    Job,
    Move,
    Release,
    Report,
)
from wippy_lua.queue.drivers.sqlite.queue import (
    FileState,
    Publisher,
    Queues,
    SqliteAttachment,
    SqliteDelivery,
    SqliteQueue,
)
from wippy_lua.queue.drivers.sqlite.rows import Found, Spot, row_of
from wippy_lua.queue.drivers.sqlite.schema import QUEUE_FILE
from wippy_lua.queue.drivers.sqlite.store import Store
from wippy_lua.queue.drivers.sqlite.transaction import Transaction
from wippy_lua.queue.message import Message
from wippy_lua.sqlite.file import failure_of, is_busy
from wippy_lua.sqlite.thread import NativeThread

T = TypeVar("T")

#: Seconds between looks at what other processes have committed, growing while they do nothing.
SHORTEST_LOOK: Final = 0.005
LONGEST_LOOK: Final = 0.1

#: Seconds before what the disk refused is tried again.
RETRY_SECONDS: Final = 0.2

#: Seconds that a start, and an operator's question, wait for a file that others hold locked.
PATIENCE: Final = 10.0

#: Seconds that a publish has for its first try, whatever its timeout: a commit takes some.
FIRST_TRY: Final = 1.0

#: How often a stop tries to write what is still to be written.
LAST_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Work:
    """A group with those who wait for it."""

    group: Group
    publishers: Sequence[Publisher]
    queues: Sequence[SqliteQueue]
    jobs: Sequence[Waiting]


class Waiting(Job):
    """A job, and the greenlet that waits for it; `undo` is for a result that nobody wants."""

    __slots__ = ("done", "is_left", "undo")

    def __init__(
        self, run: Callable[[Transaction], Any], undo: Callable[[Any], None] | None
    ) -> None:
        super().__init__(run)
        self.undo = undo
        self.is_left = False
        self.done = Event()

    def finish(self) -> None:
        """Hands over the result; undoes it when its greenlet is gone."""
        if self.is_left and self.undo is not None and self.error is None:
            self.undo(self.result)
        self.done.set()


class Session:
    """Runs groups until it is closed. All methods are safe from any greenlet of one hub."""

    def __init__(
        self,
        store: Store,
        queues: Queues,
        file: FileState,
        lease_seconds: float,
        clock: Clock,
        log: Log,
    ) -> None:
        self._store = store
        self._queues = queues
        self._file = file
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._log = log
        self._thread = NativeThread()
        self._next = Group(0.0)
        self._jobs: list[Waiting] = []
        self._touched: dict[SqliteQueue, None] = {}
        self._wake = Event()
        self._greenlets: list[gevent.Greenlet[..., None]] = []
        self._pump: gevent.Greenlet[..., None] | None = None
        self._events = Alarm(clock, clock.time, self._on_event)
        self._deadlines = Alarm(clock, clock.monotonic, self._on_deadline)
        self.is_open = False

    def open(self) -> None:
        """Connects; raises WippyError."""
        try:
            self._connect()
        except (sqlite3.Error, OSError) as error:
            self._thread.end()
            raise failure_of(QUEUE_FILE, self._store.path, error) from error
        except WippyError:
            self._thread.end()
            raise
        self.is_open = self._file.works = True
        self._pump = gevent.spawn(self._run)
        self._greenlets = [gevent.spawn(self._keep_lease), gevent.spawn(self._look_for_others)]

    def _connect(self) -> None:
        deadline = time.monotonic() + PATIENCE  # real time, whatever the clock, as of all retries
        while True:
            try:
                self._thread.run(self._store.open)
            except (sqlite3.Error, OSError) as error:
                if not is_busy(error) or time.monotonic() >= deadline:
                    raise
                gevent.sleep(SHORTEST_LOOK)
            else:
                return

    def close(self) -> None:
        """Writes what is to be written and disconnects; what is unsettled goes back."""
        self.is_open = self._file.works = False
        self._wake.set()
        if self._pump is not None:
            self._pump.join()

    # What greenlets want

    def publish(self, queue: SqliteQueue, publisher: Publisher) -> None:
        """Blocks until all messages are on the disk; raises as `Driver.publish` does."""
        queue.publishers.append(publisher)
        self._touch(queue)
        if publisher.due:
            self._events.set(publisher.due)
        self._deadlines.set(publisher.deadline)
        try:
            publisher.woken.get()
        except BaseException:
            publisher.give_up(stopped_error())
            queue.drop_finished()
            raise
        publisher.check()

    def attach(self, queue: SqliteQueue, credit: int, sink: Sink) -> SqliteAttachment:
        attachment = queue.attach(credit, sink)
        queue.unread = True
        self._touch(queue)
        return attachment

    def take(self, queue: SqliteQueue, limit: int) -> list[SqliteDelivery]:
        """Claims messages for nobody's credit."""
        return self._claim(queue, lambda tx: tx.claim(queue.number, limit))

    def pick(self, queue: SqliteQueue, spots: Sequence[Spot]) -> list[SqliteDelivery]:
        """Claims those of certain messages that are ready."""
        return self._claim(queue, lambda tx: tx.pick(queue.number, spots))

    def _claim(
        self, queue: SqliteQueue, claim: Callable[[Transaction], list[Found]]
    ) -> list[SqliteDelivery]:
        def give_back(found: list[Found]) -> None:
            for taken in found:
                self._give_back(queue, taken)

        found = self.call(claim, undo=give_back)
        return [SqliteDelivery(self, queue, taken, None) for taken in found]

    def call(self, run: Callable[[Transaction], T], undo: Callable[[T], None] | None = None) -> T:
        """Runs a function in the next transaction and returns its result; raises WippyError."""
        job = Waiting(run, undo)
        self._jobs.append(job)
        self._wake.set()
        try:
            if not job.done.wait(PATIENCE) and job in self._jobs:
                raise WippyError(
                    f"queue file {self._store.path} stayed locked for {PATIENCE:g}s",
                    kind=Kind.TIMEOUT,
                    retryable=True,
                )
            job.done.wait()
        except BaseException:
            job.is_left = True
            if job in self._jobs:
                self._jobs.remove(job)
            raise
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    # What deliveries want

    def ack(self, queue: SqliteQueue, held: Held) -> None:
        self._next.acks.setdefault((held.queue, held.claim), []).append(held.id)
        self._credit_came(queue)

    def release(self, queue: SqliteQueue, held: Held, delay: float, charged: bool) -> None:
        due = self._clock.time() + delay if delay > 0 else 0.0
        self._next.releases.append(Release(held, due, charged))
        if due:
            self._events.set(due)
        else:
            queue.unread = True  # so that who waits for it claims it in the same transaction
        self._credit_came(queue)

    def move(self, queue: SqliteQueue, held: Held, target: str, message: Message) -> None:
        found = self._queues.find(target)
        self._next.moves.append(Move(held, found.number, row_of(message)))
        found.unread = True
        self._touch(found)
        self._credit_came(queue)

    def extend(self, held: Held, seconds: float) -> None:
        self._next.extensions.append(Extension(held, self._clock.time() + seconds))
        self._wake.set()

    def _credit_came(self, queue: SqliteQueue) -> None:
        if queue.unread:
            self._touch(queue)
        else:
            self._wake.set()

    def _touch(self, queue: SqliteQueue) -> None:
        self._touched[queue] = None
        self._wake.set()

    # Groups

    def _run(self) -> None:
        while self.is_open:
            self._wake.wait()
            self._wake.clear()
            # The others who can run have their turn first: what they ask for joins this group.
            gevent.sleep(0)
            if self.is_open and (work := self._gather()) is not None:
                self._perform(work)
        self._end()

    def _gather(self) -> Work | None:
        """Returns all that waits, None when that is nothing."""
        group, self._next = self._next, Group(0.0)
        touched, self._touched = list(self._touched), {}
        jobs, self._jobs = self._jobs, []
        publishers: list[Publisher] = []
        for queue in touched:
            publishers += queue.to_publish()
            if (queue.unread or queue.publishers) and (demand := queue.demand()):
                group.wants[queue.number] = demand
                queue.unread = False
        group.publishings = [p.on_its_way for p in publishers if p.on_its_way is not None]
        group.jobs = jobs
        if not (group.sweep or group.publishings or group.wants or _has_more(group)):
            return None
        group.now = self._clock.time()
        group.sweep = group.sweep or bool(
            group.wants or group.jobs or any(p.max_length for p in group.publishings)
        )
        return Work(group, publishers, touched, jobs)

    def _perform(self, work: Work) -> None:
        try:
            report: Report = self._thread.run(self._store.run, work.group)
        except Exception as error:  # noqa: BLE001 - whoever waits for the group must be told
            self._on_failure(work, error)
            return
        if self.is_open and not self._file.works:
            self._file.works = True
            self._file.recoveries += 1
            self._log.info("queue file works again")
        self._on_stored(work, report)
        self._on_claimed(work, report)
        for job in work.jobs:
            job.finish()
        if report.next_event is not None:
            self._events.set(report.next_event)

    def _on_stored(self, work: Work, report: Report) -> None:
        for publisher, stored in zip(work.publishers, report.stored, strict=True):
            publisher.stored += stored
            publisher.tried = True
            publisher.on_its_way = None
        now = self._clock.monotonic()
        for queue in work.queues:
            self._check_deadlines(queue, now)

    def _on_claimed(self, work: Work, report: Report) -> None:
        wants = work.group.wants
        for number in wants.keys() | report.grown | report.freed:
            queue = self._queues.numbered(number)
            if queue is None:
                continue
            found = report.claimed.get(number, ())
            if number in report.grown or (found and len(found) == wants[number]):
                queue.unread = True
            for taken in found:
                self._deliver(queue, taken)
            if (queue.unread and queue.demand()) or (number in report.freed and queue.publishers):
                self._touch(queue)

    def _deliver(self, queue: SqliteQueue, found: Found) -> None:
        attachment = queue.take_credit()
        if attachment is None:  # It was detached while the claim was on its way.
            self._give_back(queue, found)
        else:
            attachment.put(SqliteDelivery(self, queue, found, attachment))

    def _give_back(self, queue: SqliteQueue, found: Found) -> None:
        self._next.releases.append(
            Release(Held(queue.number, found.id, found.claim), 0.0, charged=False)
        )
        queue.unread = True
        self._wake.set()

    # When the disk refuses

    def _on_failure(self, work: Work, error: Exception) -> None:
        """Tells who waits, but keeps settlements: they have to reach the disk some time."""
        failure = failure_of(QUEUE_FILE, self._store.path, error)
        if self._file.works:
            self._file.works = False
            self._log.warning("queue file refused a transaction", error=failure.message)
        self._keep_settlements(work.group)
        for queue in work.queues:
            queue.unread = True
            self._touched[queue] = None
        for publisher in work.publishers:
            publisher.on_its_way = None
        self._wake.set()
        if is_busy(error):  # Another process's turn: deadlines say how long that may take.
            self._jobs[:0] = [job for job in work.jobs if not job.is_left]
            self._on_deadline()
        else:
            self._fail(work, failure)
            gevent.sleep(RETRY_SECONDS)

    def _keep_settlements(self, group: Group) -> None:
        coming = self._next
        for key, ids in group.acks.items():
            coming.acks.setdefault(key, [])[:0] = ids
        coming.releases[:0] = group.releases
        coming.moves[:0] = group.moves
        coming.extensions[:0] = group.extensions
        coming.sweep = coming.sweep or group.sweep

    def _fail(self, work: Work, failure: WippyError) -> None:
        for publisher in work.publishers:
            publisher.failure = failure
        for queue in work.queues:
            queue.drop_finished()
        for job in work.jobs:
            job.error = failure
            job.finish()

    # Time

    def _keep_lease(self) -> None:
        while True:
            self._clock.sleep(self._lease_seconds / 3)
            self._next.sweep = True
            self._wake.set()

    def _look_for_others(self) -> None:
        """Notices what other processes have committed, while somebody here waits for it."""
        pause = SHORTEST_LOOK
        while True:
            self._clock.sleep(pause)
            pause = min(2 * pause, LONGEST_LOOK)
            if all(queue.is_idle for queue in self._queues):
                continue
            try:
                changed = self._thread.run(self._store.has_changed)
            except sqlite3.Error as error:
                self._log.debug("looking at the queue file failed", error=str(error))
                continue
            if changed:
                pause = SHORTEST_LOOK
                self._look_at_all()

    def _look_at_all(self) -> None:
        for queue in self._queues:
            queue.unread = True
            if not queue.is_idle:
                self._touch(queue)

    def _on_event(self) -> None:
        """Lets happen what is due, or has expired, or was lost by another process."""
        self._next.sweep = True
        self._wake.set()
        self._look_at_all()

    def _on_deadline(self) -> None:
        now = self._clock.monotonic()
        for queue in self._queues:
            self._check_deadlines(queue, now)

    def _check_deadlines(self, queue: SqliteQueue, now: float) -> None:
        """Fails the publishers whose time is over, and wakes all that are done."""
        for publisher in queue.publishers:
            if publisher.is_over:
                continue
            last = publisher.deadline if publisher.tried else self._patient_deadline(publisher)
            if now < last:
                self._deadlines.set(last)
            elif not publisher.tried:
                publisher.give_up(self._not_written(queue, publisher))
            elif publisher.on_its_way is None:  # else it may still be stored
                publisher.failure = queue.full(publisher)
        queue.drop_finished()

    def _not_written(self, queue: SqliteQueue, publisher: Publisher) -> WippyError:
        return WippyError(
            f"queue file {self._store.path} was not written within {publisher.timeout:g}s;"
            " the messages may be stored all the same",
            kind=Kind.TIMEOUT,
            retryable=True,
            details={"queue": queue.id},
        )

    def _patient_deadline(self, publisher: Publisher) -> float:
        return max(publisher.deadline, publisher.since + FIRST_TRY)

    # The end

    def _end(self) -> None:
        self._events.cancel()
        self._deadlines.cancel()
        gevent.killall(self._greenlets)
        stopped = stopped_error()
        for queue in self._queues:
            for attachment in tuple(queue.attachments):
                attachment.detach()
            for publisher in queue.publishers:
                publisher.failure = stopped
            queue.drop_finished()
        for job in self._jobs:
            job.error = stopped
            job.finish()
        self._write_last()
        self._thread.run(self._store.close)
        self._thread.end()

    def _write_last(self) -> None:
        self._next.now = self._clock.time()
        for attempt in range(1, LAST_TRIES + 1):
            try:
                self._thread.run(self._store.run, self._next)
                self._thread.run(self._store.give_back, self._next.now)
            except (sqlite3.Error, OSError) as error:
                if attempt == LAST_TRIES or not is_busy(error):
                    self._log.warning(
                        "last settlements were not written: messages come back after their lease",
                        error=str(error),
                    )
                    return
            else:
                return


def stopped_error() -> WippyError:
    return WippyError("the sqlite driver is not started", kind=Kind.UNAVAILABLE, retryable=True)


def _has_more(group: Group) -> bool:
    return bool(group.acks or group.releases or group.moves or group.extensions or group.jobs)
