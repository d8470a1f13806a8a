"""What is done to the file in one transaction: everything that a group of greenlets waits for.

Nothing here switches greenlets or knows of them. A message is touched only by whom its `claim`
says: claims are numbers that no two claims of any process share, so a settlement that comes too
late finds nothing and changes nothing.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from itertools import chain, groupby
from math import inf
from operator import attrgetter
from typing import Any, Final

from wippy_lua.errors import QueueNotFound, WippyError
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.driver import QueueInfo, Seen
from wippy_lua.queue.drivers.sqlite.group import Group, Lease, Move, Publishing, Release, Report
from wippy_lua.queue.drivers.sqlite.rows import (
    Found,
    Placing,
    Row,
    Spot,
    insert_rows,
    message_of,
)
from wippy_lua.queue.drivers.sqlite.schema import DELAYED, IN_FLIGHT, READY

#: Messages that one transaction brings from delayed to ready; the next one goes on.
DUE_AT_ONCE: Final = 10_000

#: What a lost process held has one position for all: then the ID decides. Two searches, since the
#: index cannot begin at a place by one.
_PEEK: Final = """
SELECT m.*, c.message_id, c.content_type, c.headers, c.body FROM (
  SELECT * FROM (
    SELECT priority, position, id, published_at FROM messages
    WHERE state = 0 AND queue = ?1 AND priority = ?2 AND position >= ?3
      AND (position > ?3 OR id > ?4)
    ORDER BY position, id LIMIT ?5)
  UNION ALL SELECT * FROM (
    SELECT priority, position, id, published_at FROM messages
    WHERE state = 0 AND queue = ?1 AND priority < ?2
    ORDER BY priority DESC, position, id LIMIT ?5)
) m JOIN contents c ON c.id = m.id
ORDER BY m.priority DESC, m.position, m.id LIMIT ?5
"""

#: What publishings must have in common to be stored as one.
_terms_of: Final = attrgetter("queue", "due", "expires", "max_length")


class Transaction:
    """One open transaction; `lease` is what the process's lease is if it commits."""

    def __init__(
        self, db: sqlite3.Connection, now: float, lease: Lease, lease_seconds: float
    ) -> None:
        self._db = db
        self.now = now
        self.lease = lease
        self._lease_seconds = lease_seconds
        self._lease_checked = False
        self._claim = 0
        self._first = int(db.execute("SELECT last FROM sequence").fetchone()[0])
        self._last = self._first
        self._counts: dict[int, list[int]] = {}
        self._before: dict[int, tuple[int, int]] = {}
        self._freed: set[int] = set()
        self._handed_over: dict[int, list[Found]] = {}
        self._inserts: dict[Placing, list[tuple[int, Row]]] = {}

    def perform(self, group: Group) -> Report:
        """Does all of a group, settlements first: they make room and find what others wait for."""
        self._settle(group)
        next_event = self.sweep() if group.sweep else None
        self._handed_over = {queue: [] for queue in self._ready_consumers(group)}
        stored = self._publish(group.publishings)
        self._insert()
        claimed = {
            queue: self._handed_over[queue]
            if queue in self._handed_over
            else self.claim(queue, limit)
            for queue, limit in group.wants.items()
        }
        for job in group.jobs:
            try:
                job.result = job.run(self)
            except WippyError as error:
                job.error = error
        self._finish()
        return Report(
            stored=stored,
            claimed=claimed,
            freed=self._freed,
            grown={queue for queue, (ready, _, _) in self._counts.items() if ready > 0},
            next_event=next_event,
        )

    # Publishing

    def _ready_consumers(self, group: Group) -> set[int]:
        """Returns the queues whose consumers can take all that comes, with nothing before it."""
        coming: Counter[int] = Counter()
        for publishing in group.publishings:
            coming[publishing.queue] += len(publishing.rows)
        return {
            queue
            for queue, limit in group.wants.items()
            if 0 < coming[queue] <= limit and not self._count_of(queue)[READY]
        }

    def _publish(self, publishings: Sequence[Publishing]) -> list[int]:
        """Stores as many messages of each as there is room for; returns how many."""
        stored: list[int] = []
        # Neighbours that are alike are stored as one: each costs as much as a message.
        for (queue, due, expires, bound), alike in groupby(publishings, _terms_of):
            lists = [() if each.is_dropped else each.rows for each in alike]
            if bound is None:
                self._store(list(chain.from_iterable(lists)), queue, due, expires)
                stored += map(len, lists)
                continue
            for rows in lists:
                fitting = rows[: max(bound - sum(self._count_of(queue)), 0)]
                self._store(fitting, queue, due, expires)
                stored.append(len(fitting))
        return stored

    def _store(self, rows: Sequence[Row], queue: int, due: float, until: float) -> None:
        if not rows or until <= self.now:
            return
        expires = None if until == inf else until
        if due > self.now:
            self._add(rows, Placing(queue, DELAYED, due, expires))
        elif queue in self._handed_over:
            self._hand_over(rows, queue, expires)
        else:
            self._add(rows, Placing(queue, READY, None, expires))

    def _hand_over(self, rows: Sequence[Row], queue: int, expires: float | None) -> None:
        """Stores messages as claimed already, which saves reading and writing them again."""
        claim, lease = self._own_claim(), self._own_lease()
        first = self._add(rows, Placing(queue, IN_FLIGHT, None, expires, 1, claim, lease))
        self._handed_over[queue] += [
            Found(n, claim, 1, row.message) for n, row in enumerate(rows, first)
        ]
        self._freed.add(queue)

    def _add(self, rows: Sequence[Row], placing: Placing) -> int:
        """Numbers rows, counts them and has them inserted by `_insert`; returns the first number.

        Rows of many publishers go into one statement: starting one costs as much as a row.
        """
        first = self._number(len(rows))
        self._inserts.setdefault(placing, []).extend(enumerate(rows, first))
        self._count(placing.queue, placing.state, len(rows))
        return first

    def _insert(self) -> None:
        for placing, numbered in self._inserts.items():
            insert_rows(self._db, numbered, placing)
        self._inserts = {}

    # Settling

    def _settle(self, group: Group) -> None:
        for (queue, claim), ids in group.acks.items():
            deleted = self._db.execute(
                "DELETE FROM messages WHERE id IN (SELECT value FROM json_each(?)) AND claim = ?",
                (json.dumps(ids), claim),
            ).rowcount
            self._count(queue, IN_FLIGHT, -deleted)
        for release in group.releases:
            self._release(release)
        for move in group.moves:
            self._move(move)
        self._insert()
        for extension in group.extensions:
            self._db.execute(
                "UPDATE messages SET held_until = max(coalesce(held_until, 0), ?)"
                " WHERE id = ? AND claim = ?",
                (extension.until, extension.held.id, extension.held.claim),
            )

    def _release(self, release: Release) -> None:
        held, is_late = release.held, release.due > self.now
        state = DELAYED if is_late else READY
        changed = self._db.execute(
            "UPDATE messages SET state = ?, position = ?, due = ?, attempt = attempt - ?,"
            " claim = NULL, lease = NULL, held_until = NULL WHERE id = ? AND claim = ?",
            (
                state,
                self._number(),
                release.due if is_late else None,
                0 if release.charged else 1,
                held.id,
                held.claim,
            ),
        ).rowcount
        self._transfer(held.queue, IN_FLIGHT, state, changed)

    def _move(self, move: Move) -> None:
        held = move.held
        if self._db.execute(
            "DELETE FROM messages WHERE id = ? AND claim = ?", (held.id, held.claim)
        ).rowcount:
            self._count(held.queue, IN_FLIGHT, -1)
            self._add([move.row], Placing(move.target, READY))

    # Delivering

    def claim(self, queue: int, limit: int) -> list[Found]:
        """Takes up to `limit` ready messages in delivery order, under this process's lease."""
        rows = self._db.execute(
            "SELECT m.id, m.attempt + 1, m.published_at,"
            " c.message_id, c.content_type, c.headers, c.body"
            " FROM messages m JOIN contents c ON c.id = m.id"
            " WHERE m.state = 0 AND m.queue = ? ORDER BY m.priority DESC, m.position LIMIT ?",
            (queue, limit),
        ).fetchall()
        return self._take(queue, rows)

    def pick(self, queue: int, spots: Sequence[Spot]) -> list[Found]:
        """Takes those of certain messages that are still ready where they were."""
        rows = self._db.execute(
            "SELECT m.id, m.attempt + 1, m.published_at,"
            " c.message_id, c.content_type, c.headers, c.body"
            " FROM json_each(?) wanted JOIN messages m ON m.id = wanted.value"
            " JOIN contents c ON c.id = m.id"
            " WHERE m.state = 0 AND m.queue = ? ORDER BY wanted.key",
            (json.dumps([spot.id for spot in spots]), queue),
        ).fetchall()
        return self._take(queue, rows)

    def _take(self, queue: int, rows: Sequence[tuple[Any, ...]]) -> list[Found]:
        if not rows:
            return []
        claim = self._own_claim()
        self._db.execute(
            "UPDATE messages SET state = 2, attempt = attempt + 1, claim = ?, lease = ?"
            " WHERE id IN (SELECT value FROM json_each(?))",
            (claim, self._own_lease(), json.dumps([row[0] for row in rows])),
        )
        self._transfer(queue, READY, IN_FLIGHT, len(rows))
        return [Found(row[0], claim, row[1], message_of(*row[2:])) for row in rows]

    def _own_claim(self) -> int:
        """Returns the number of all claims of this transaction: nobody else has it."""
        if not self._claim:
            self._claim = self._number()
        return self._claim

    # Time

    def sweep(self) -> float:
        """Lets happen what is due by now; returns when the next thing will be."""
        # Before looking at leases: whoever asks for a sweep is alive.
        self._renew()
        next_event = self._next_event()
        if next_event > self.now:
            return next_event
        self._take_back_lost()
        self._bring_due()
        self._drop_expired()
        return self._next_event()

    def give_back(self) -> None:
        """Makes all that this process holds ready again, and ends its lease."""
        self._take_back(self.lease.id, inf)
        self._db.execute("DELETE FROM leases WHERE id = ?", (self.lease.id,))
        self.lease = Lease()
        self._finish()

    def _own_lease(self) -> int:
        """Returns a lease that is there: another process may have ended the one there was."""
        if not self._lease_checked:
            self._lease_checked = True
            known = self._db.execute("SELECT 1 FROM leases WHERE id = ?", (self.lease.id,))
            if known.fetchone() is None:
                self.lease = Lease(self._number(), self.now)
                self._db.execute(
                    "INSERT INTO leases VALUES (?, ?)",
                    (self.lease.id, self.now + self._lease_seconds),
                )
        return self.lease.id

    def _renew(self) -> None:
        if not self.lease.id or self.now - self.lease.renewed_at < self._lease_seconds / 3:
            return
        self._db.execute(
            "UPDATE leases SET until = ? WHERE id = ?",
            (self.now + self._lease_seconds, self.lease.id),
        )
        self.lease = Lease(self.lease.id, self.now)

    def _take_back_lost(self) -> None:
        lost = self._db.execute("SELECT id FROM leases WHERE until <= ?", (self.now,)).fetchall()
        for (lease,) in lost:
            self._take_back(lease, self.now)
            self._db.execute(
                "UPDATE leases SET until ="
                " (SELECT coalesce(min(held_until), 0) FROM messages WHERE lease = ?1)"
                " WHERE id = ?1",
                (lease,),
            )
            self._db.execute("DELETE FROM leases WHERE id = ? AND until = 0", (lease,))

    def _take_back(self, lease: int, now: float) -> None:
        """Makes a lease's messages ready again, but for those that were extended beyond `now`."""
        # Scans of the small table: leases are lost rarely, an index would cost each message.
        theirs = "WHERE lease = ? AND coalesce(held_until, 0) <= ?"
        found = self._db.execute(
            f"SELECT queue, count(*) FROM messages {theirs} GROUP BY queue",  # noqa: S608 - constant
            (lease, now),
        ).fetchall()
        for queue, count in found:
            self._transfer(queue, IN_FLIGHT, READY, count)
        if found:
            # One position for all: of those, what was published first comes first.
            ready = "state = 0, position = ?, claim = NULL, lease = NULL, held_until = NULL"
            self._db.execute(
                f"UPDATE messages SET {ready} {theirs}",  # noqa: S608 - constant
                (self._number(), lease, now),
            )

    def _bring_due(self) -> None:
        due = self._db.execute(
            "SELECT id, queue FROM messages WHERE state = 1 AND due <= ?"
            " ORDER BY due, position LIMIT ?",
            (self.now, DUE_AT_ONCE),
        ).fetchall()
        if not due:
            return
        first = self._number(len(due))
        self._db.executemany(
            "UPDATE messages SET state = 0, due = NULL, position = ? WHERE id = ?",
            [(position, row[0]) for position, row in enumerate(due, first)],
        )
        for _, queue in due:
            self._transfer(queue, DELAYED, READY, 1)

    def _drop_expired(self) -> None:
        late = "WHERE expires <= ? AND expires IS NOT NULL AND state < 2"
        found = self._db.execute(
            f"SELECT queue, state, count(*) FROM messages {late} GROUP BY queue, state",  # noqa: S608 - constant
            (self.now,),
        ).fetchall()
        for queue, state, count in found:
            self._count(queue, state, -count)
        if found:
            self._db.execute(f"DELETE FROM messages {late}", (self.now,))  # noqa: S608 - constant

    def _next_event(self) -> float:
        events = self._db.execute(
            "SELECT (SELECT min(due) FROM messages WHERE state = 1),"
            " (SELECT min(expires) FROM messages WHERE expires IS NOT NULL AND state < 2),"
            " (SELECT min(until) FROM leases WHERE id <> ?)",
            (self.lease.id,),
        ).fetchone()
        return min((when for when in events if when is not None), default=inf)

    # Operators

    def declare(self, queue: QueueConfig, max_length: int | None) -> tuple[int, int | None]:
        """Returns the number and the bound of a queue, which is created unless it is there."""
        found = self._db.execute(
            "SELECT id, max_length FROM queues WHERE name = ?", (queue.queue_name,)
        ).fetchone()
        if found is not None:
            return int(found[0]), found[1]
        if not queue.declare:
            raise QueueNotFound(queue.id)
        number = self._number()
        self._db.execute(
            "INSERT INTO queues (id, name, max_length) VALUES (?, ?, ?)",
            (number, queue.queue_name, max_length),
        )
        return number, max_length

    def info(self, queue: int, consumers: int) -> QueueInfo:
        """Returns a queue's counts; `consumers` are this process's."""
        *stored, oldest = self._db.execute(
            "SELECT ready, delayed, in_flight,"
            " (SELECT min(published_at) FROM messages WHERE queue = ?1)"
            " FROM queues WHERE id = ?1",
            (queue,),
        ).fetchone()
        changes = self._counts.get(queue, (0, 0, 0))
        ready, delayed, in_flight = map(int.__add__, stored, changes)
        return QueueInfo(
            ready=ready,
            message_count=ready + delayed + in_flight,
            in_flight=in_flight,
            delayed=delayed,
            consumer_count=consumers,
            oldest_age=None if oldest is None else max(self.now - oldest, 0.0),
        )

    def peek(self, queue: int, after: Spot, limit: int) -> list[Seen]:
        """Returns the ready messages after a place, in delivery order; changes nothing."""
        rows = self._db.execute(_PEEK, (queue, *after, limit)).fetchall()
        return [Seen(message_of(*row[3:]), Spot(*row[:3])) for row in rows]

    def purge(self, queue: int) -> int:
        """Removes what is ready or delayed; returns how many."""
        purged = 0
        for state in (READY, DELAYED):
            deleted = self._db.execute(
                "DELETE FROM messages WHERE queue = ? AND state = ?", (queue, state)
            ).rowcount
            self._count(queue, state, -deleted)
            purged += deleted
        return purged

    # Numbers

    def _number(self, count: int = 1) -> int:
        """Returns the first of `count` numbers that nobody has had."""
        first = self._last + 1
        self._last += count
        return first

    def _count_of(self, queue: int) -> tuple[int, int]:
        """Returns how many messages of a queue are ready and delayed by now."""
        before = self._before.get(queue)
        if before is None:
            before = self._before[queue] = self._db.execute(
                "SELECT ready, delayed FROM queues WHERE id = ?", (queue,)
            ).fetchone()
        changes = self._counts.get(queue, [0, 0, 0])
        return before[READY] + changes[READY], before[DELAYED] + changes[DELAYED]

    def _transfer(self, queue: int, source: int, target: int, count: int) -> None:
        self._count(queue, source, -count)
        self._count(queue, target, count)

    def _count(self, queue: int, state: int, change: int) -> None:
        self._counts.setdefault(queue, [0, 0, 0])[state] += change
        if change < 0 and state != IN_FLIGHT:
            self._freed.add(queue)

    def _finish(self) -> None:
        """Writes the counts and the last number; the last thing in every transaction."""
        changed = [(*change, queue) for queue, change in self._counts.items() if any(change)]
        if changed:
            self._db.executemany(
                "UPDATE queues SET ready = ready + ?, delayed = delayed + ?,"
                " in_flight = in_flight + ? WHERE id = ?",
                changed,
            )
        if self._last != self._first:
            self._db.execute("UPDATE sequence SET last = ?", (self._last,))
