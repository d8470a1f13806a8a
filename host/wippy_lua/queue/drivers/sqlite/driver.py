"""Queues in an SQLite file: safe on one machine's disk, shared by any of its processes.

`publish` returns when the transaction is committed. With `synchronous: full` that outlives a loss
of power, with `normal` the end of the process only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import inf
from pathlib import Path
from typing import Final

from wippy_lua.clock import Clock
from wippy_lua.errors import WippyError
from wippy_lua.log import Log
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.driver import Attachment, Capabilities, QueueInfo, Seen, Sink
from wippy_lua.queue.drivers.options import check_known, conflict, max_length_of
from wippy_lua.queue.drivers.sqlite.queue import FileState, Publisher, Queues, SqliteQueue
from wippy_lua.queue.drivers.sqlite.rows import BEFORE_ALL, row_of, spot_of
from wippy_lua.queue.drivers.sqlite.session import Session, stopped_error
from wippy_lua.queue.drivers.sqlite.store import Store
from wippy_lua.queue.message import Delivery, Message
from wippy_lua.queue.pages import browse_pages
from wippy_lua.registry.entry import Entry
from wippy_lua.registry.kinds import SqliteDriverSpec
from wippy_lua.sqlite.file import Synchronous

OPTIONS: Final = ("max_length",)
DEFAULT_LEASE: Final = 30.0


def from_entry(entry: Entry, clock: Clock, log: Log) -> SqliteDriver:
    """Returns the driver of a `queue.driver.sqlite` entry; its file is relative to its YAML."""
    spec = entry.spec_as(SqliteDriverSpec)
    return SqliteDriver(
        entry.folder / spec.file,
        clock,
        log,
        synchronous=spec.synchronous,
        lease=spec.lease,
    )


class SqliteDriver:
    """The queues of one file; a lost process's messages come back after `lease` seconds."""

    capabilities = Capabilities()

    def __init__(
        self,
        file: Path,
        clock: Clock,
        log: Log,
        *,
        synchronous: Synchronous = "full",
        lease: float = DEFAULT_LEASE,
    ) -> None:
        self._file = file
        self._clock = clock
        self._log = log.bind(file=str(file))
        self._synchronous: Synchronous = synchronous
        self._lease = lease
        self._queues = Queues()
        self._state = FileState()
        self._declared: dict[str, QueueConfig] = {}
        self._session: Session | None = None

    @property
    def connected(self) -> bool:
        return self._state.works

    @property
    def reconnects(self) -> int:
        return self._state.recoveries

    def start(self) -> None:
        """Opens the file, creating it when it is not there; raises WippyError."""
        if self._session is not None:
            return
        store = Store(self._file, self._synchronous, self._lease)
        # New ones: the file may be another one than at the last start.
        self._queues = Queues()
        session = Session(store, self._queues, self._state, self._lease, self._clock, self._log)
        session.open()
        self._session = session
        for config in tuple(self._declared.values()):
            self.declare_queue(config)

    def stop(self) -> None:
        """Writes what is still to be written, gives back what is unsettled and closes the file."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def declare_queue(self, queue: QueueConfig) -> None:
        check_known(queue, "sqlite", OPTIONS)
        wanted = max_length_of(queue)
        known = self._queues.get(queue.id)
        if known is not None and known.name != queue.queue_name:
            raise _conflict(queue, known.name, known.max_length, wanted)
        number, found = self._serving.call(lambda tx: tx.declare(queue, wanted))
        if found != wanted:
            raise _conflict(queue, queue.queue_name, found, wanted)
        existing = self._queues.numbered(number)
        self._queues.add(
            queue.id,
            existing or SqliteQueue(queue.id, queue.queue_name, number, found, self._state),
        )
        self._declared[queue.id] = queue

    def publish(
        self,
        queue: str,
        messages: Sequence[Message],
        *,
        delay: float = 0.0,
        ttl: float | None = None,
        timeout: float = 10.0,
    ) -> None:
        session, target = self._serving, self._queues.find(queue)
        if not messages:
            return
        due, expires = 0.0, inf
        if delay > 0 or ttl is not None:
            now = self._clock.time()
            due = now + delay if delay > 0 else 0.0
            expires = inf if ttl is None else now + ttl
        rows = [row_of(message) for message in messages]
        session.publish(target, Publisher(rows, due, expires, timeout, self._clock.monotonic()))

    def attach(self, queue: str, credit: int, deliveries: Sink) -> Attachment:
        return self._serving.attach(self._queues.find(queue), credit, deliveries)

    def info(self, queue: str) -> QueueInfo:
        """Returns the counts of all processes, but the consumers of this one."""
        session, found = self._serving, self._queues.find(queue)
        return session.call(lambda tx: tx.info(found.number, len(found.attachments)))

    def peek(self, queue: str, limit: int) -> list[Message]:
        return [seen.message for seen in self._page(queue, None, limit)]

    def browse(self, queue: str) -> Iterator[Seen]:
        self._queues.find(queue)
        return browse_pages(partial(self._page, queue))

    def pick(self, queue: str, seen: Sequence[Seen]) -> list[Delivery]:
        return list(self._serving.pick(self._queues.find(queue), list(map(spot_of, seen))))

    def take(self, queue: str, limit: int) -> list[Delivery]:
        return list(self._serving.take(self._queues.find(queue), limit))

    def flush(self, queue: str) -> None:
        self._queues.find(queue)
        self._serving.call(lambda _tx: None)  # settlements that came before are in its transaction

    def purge(self, queue: str) -> int:
        session, found = self._serving, self._queues.find(queue)
        return session.call(lambda tx: tx.purge(found.number))

    def _page(self, queue: str, last: Seen | None, limit: int) -> list[Seen]:
        session, found = self._serving, self._queues.find(queue)
        after = BEFORE_ALL if last is None else spot_of(last)
        return session.call(lambda tx: tx.peek(found.number, after, limit))

    @property
    def _serving(self) -> Session:
        if self._session is None:
            raise stopped_error()
        return self._session


def _conflict(queue: QueueConfig, name: str, found: int | None, wanted: int | None) -> WippyError:
    there = {"queue_name": name, "max_length": found}
    asked = {"queue_name": queue.queue_name, "max_length": wanted}
    return conflict(queue, there, asked)
