"""The SQLite driver: publishers and a consumer in Lua, every commit on the disk.

The floor does it with one connection, in groups of as many messages as the host's publishers have
on their way together: encode in Lua, insert and commit; delete the last group, claim the next one
and commit; decode and a bare Lua call each.
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
from typing import Any

import gevent
import msgspec
from lupa import lua54

from tests.benchmarks.cases import SMALL, Case
from tests.benchmarks.floor import HANDLER, PLAIN, make_publisher
from tests.benchmarks.ours import INDEX
from tests.benchmarks.workload import BODY, Workload
from wippy_lua import Host
from wippy_lua.log import NullLog

PUBLISHER = f"""
local queue = require("queue")
{BODY}
return function(count, items, size)
  for i = 1, count, size do
    local list = {{}}
    for n = 1, size do list[n] = body_of(i + n, items) end
    local ok, err
    if size == 1 then
      ok, err = queue.publish("bench:work", list[1])
    else
      ok, err = queue.publish_many("bench:work", list)
    end
    if not ok then return nil, err end
  end
end
"""

SCHEMA = """\
PRAGMA journal_mode = wal;
PRAGMA synchronous = full;
CREATE TABLE messages (id INTEGER PRIMARY KEY, claim INTEGER, body TEXT NOT NULL);
CREATE INDEX ready ON messages (id) WHERE claim IS NULL;
"""


@dataclass(frozen=True, slots=True)
class Traffic:
    """So many publishers, each with so many messages in one publish."""

    publishers: int
    size: int

    @property
    def group(self) -> int:
        """How many messages are on their way together."""
        return self.publishers * self.size

    def floor(self, work: Workload) -> float:
        """Publishes and handles all messages once without the host; returns seconds."""
        bodies: list[str] = []
        publish = make_publisher(PLAIN, bodies.append, work.items)
        lua: Any = lua54.LuaRuntime(unpack_returned_tuples=True)
        handle = lua.execute(HANDLER)
        with TemporaryDirectory() as folder, closing(_connect(Path(folder, "queue.db"))) as db:
            done: list[int] = []
            begin = time.perf_counter()
            for _ in range(0, work.count, self.group):
                publish(self.group)
                _insert(db, bodies)
                bodies.clear()
                claimed = _claim(db, done, self.group)
                for _, body in claimed:
                    handle(lua.table_from(msgspec.json.decode(body), recursive=True))
                done = [row[0] for row in claimed]
            return time.perf_counter() - begin

    def ours(self, work: Workload) -> float:
        """Publishes and handles all messages once through a host; returns seconds."""
        index = INDEX.format(concurrency=work.concurrency).replace(
            "kind: queue.driver.memory", "kind: queue.driver.sqlite, file: queue.db"
        )
        share = work.count // self.group * self.size
        with TemporaryDirectory() as folder:
            Path(folder, "_index.yaml").write_text(index)
            Path(folder, "publisher.lua").write_text(PUBLISHER)
            with Host(folder, log=NullLog()) as host:
                begin = time.perf_counter()
                publishers = [
                    gevent.spawn(host.call, "bench:publisher", share, work.items, self.size)
                    for _ in range(self.publishers)
                ]
                gevent.joinall(publishers, raise_error=True)
                while host.info("bench:work").message_count:
                    gevent.sleep(0)
                return time.perf_counter() - begin


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Gives the cases; nothing has to be started."""
    one, lists = Traffic(publishers=50, size=1), Traffic(publishers=8, size=100)
    yield [
        Case("sqlite, 50 publishers", one.floor, one.ours, SMALL, 0.4),
        Case("sqlite, 8 lists of 100", lists.floor, lists.ours, SMALL, 0.8),
    ]


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(SCHEMA)
    return db


def _insert(db: sqlite3.Connection, bodies: list[str]) -> None:
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT INTO messages (body) VALUES (?)", [(body,) for body in bodies])
    db.execute("COMMIT")


def _claim(db: sqlite3.Connection, done: list[int], limit: int) -> list[tuple[int, str]]:
    db.execute("BEGIN IMMEDIATE")
    db.execute(
        "DELETE FROM messages WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(done),)
    )
    rows = db.execute(
        "SELECT id, body FROM messages WHERE claim IS NULL ORDER BY id LIMIT ?", (limit,)
    ).fetchall()
    db.execute(
        "UPDATE messages SET claim = 1 WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps([row[0] for row in rows]),),
    )
    db.execute("COMMIT")
    return rows
