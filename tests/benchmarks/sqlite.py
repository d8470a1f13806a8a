"""The SQLite driver: publishers and a consumer in Lua, every commit on the disk.

The floor does it with one connection, in groups of as many messages as the host's publishers have
on their way together: encode in Lua, insert and commit; delete the last group, claim the next one
and commit; decode and a bare Lua call each. It has no counts, leases or delays, and one table.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks import floor
from tests.benchmarks.app import (
    AUTO,
    HANDLER,
    PUBLISHER,
    SMALL,
    consumer,
    driver,
    function,
    host_of,
    publish_all,
    queue,
    wait_until_empty,
)
from tests.benchmarks.brokers import Brokers
from tests.benchmarks.cases import Case, Scale, at_least

SCHEMA = """\
PRAGMA journal_mode = wal;
PRAGMA synchronous = full;
CREATE TABLE messages (id INTEGER PRIMARY KEY, claim INTEGER, body TEXT NOT NULL);
CREATE INDEX ready ON messages (id) WHERE claim IS NULL;
"""


@contextmanager
def cases(scale: Scale, _brokers: Brokers) -> Iterator[list[Case]]:
    """Gives the cases; nothing has to be started."""
    one, lists = Traffic(50, 1, scale.of(10_000)), Traffic(8, 100, scale.of(20_000))
    goal = {"": at_least(0.5)}
    yield [
        Case("sqlite, 50 publishers", one.ours, one.floor, goals=goal),
        Case("sqlite, 8 publishers of 100", lists.ours, lists.floor, goals=goal),
    ]


@dataclass(frozen=True, slots=True)
class Traffic:
    """So many messages by so many publishers, each with so many in one publish."""

    publishers: int
    size: int
    count: int

    def ours(self) -> dict[str, float]:
        """Publishes and handles all messages once by a host."""
        with host_of(
            driver("sqlite", file="queue.db"),
            queue(),
            consumer(**AUTO),
            function("handler", HANDLER),
            function("publisher", PUBLISHER, "queue"),
        ) as host:
            publish_all(host, self.publishers, self.publishers, size=1)  # the VMs are made
            wait_until_empty(host)
            begin = time.perf_counter()
            publish_all(host, self.count, self.publishers, self.size)
            wait_until_empty(host)
            return {"": self.count / (time.perf_counter() - begin)}

    def floor(self) -> dict[str, float]:
        """Does the same without the host."""
        bodies: list[str] = []
        publish, handle = floor.make_publisher(bodies.append), floor.make_handler()
        group = self.publishers * self.size
        with TemporaryDirectory() as folder, closing(_connect(Path(folder, "queue.db"))) as db:
            done: list[int] = []
            begin = time.perf_counter()
            for first in range(1, self.count + 1, group):
                publish(first, min(first + group - 1, self.count), SMALL)
                _insert(db, bodies)
                bodies.clear()
                claimed = _claim(db, done, group)
                for _, body in claimed:
                    handle(body)
                done = [row[0] for row in claimed]
            _claim(db, done, group)
            return {"": self.count / (time.perf_counter() - begin)}


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(SCHEMA)
    return db


def _insert(db: sqlite3.Connection, bodies: list[str]) -> None:
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT INTO messages (body) VALUES (?)", [(body,) for body in bodies])
    db.execute("COMMIT")


def _claim(db: sqlite3.Connection, done: list[int], limit: int) -> list[tuple[int, bytes]]:
    db.execute("BEGIN IMMEDIATE")
    db.execute(
        "DELETE FROM messages WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(done),)
    )
    rows: list[tuple[int, bytes]] = db.execute(
        "SELECT id, body FROM messages WHERE claim IS NULL ORDER BY id LIMIT ?", (limit,)
    ).fetchall()
    db.execute(
        "UPDATE messages SET claim = 1 WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps([row[0] for row in rows]),),
    )
    db.execute("COMMIT")
    return rows
