"""The SQLite driver: many publishers and a consumer in Lua, every commit on the disk.

The floor does it with one connection, in groups of as many messages as there are publishers:
encode in Lua, insert and commit; delete the last group, claim the next one and commit; decode, a
bare Lua call each. It has no counts, no leases, no delays, and one of two tables.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gevent
import msgspec
from lupa import lua54

from tests.benchmarks.floor import HANDLER
from tests.benchmarks.floor import PUBLISHER as FLOOR_PUBLISHER
from tests.benchmarks.ours import INDEX, PUBLISHER
from tests.benchmarks.workload import Workload
from wippy_lua import Host

PUBLISHERS = 50

SCHEMA = """\
PRAGMA journal_mode = wal;
PRAGMA synchronous = full;
CREATE TABLE messages (id INTEGER PRIMARY KEY, claim INTEGER, body TEXT NOT NULL);
CREATE INDEX ready ON messages (id) WHERE claim IS NULL;
"""


def floor(work: Workload) -> None:
    """Publishes and handles all messages once, without the host."""
    bodies: list[str] = []
    publish = lua54.LuaRuntime(unpack_returned_tuples=True).execute(
        FLOOR_PUBLISHER, bodies.append, work.padding
    )
    lua: Any = lua54.LuaRuntime(unpack_returned_tuples=True)
    handle = lua.execute(HANDLER)
    with TemporaryDirectory() as folder, closing(_connect(Path(folder, "queue.db"))) as db:
        done: list[int] = []
        for _ in range(0, work.count, PUBLISHERS):
            publish(PUBLISHERS)
            _insert(db, bodies)
            bodies.clear()
            claimed = _claim(db, done)
            for _, body in claimed:
                handle(lua.table_from(msgspec.json.decode(body), recursive=True))
            done = [row[0] for row in claimed]


def ours(work: Workload) -> None:
    """Publishes and handles all messages once, through a host."""
    index = INDEX.format(concurrency=work.concurrency).replace(
        "kind: queue.driver.memory", "kind: queue.driver.sqlite, file: queue.db"
    )
    with TemporaryDirectory() as folder:
        Path(folder, "_index.yaml").write_text(index)
        Path(folder, "publisher.lua").write_text(PUBLISHER)
        with Host(folder) as host:
            publishers = [
                gevent.spawn(host.call, "bench:publisher", work.count // PUBLISHERS, work.padding)
                for _ in range(PUBLISHERS)
            ]
            gevent.joinall(publishers, raise_error=True)
            while host.info("bench:work").message_count:
                gevent.sleep(0)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(SCHEMA)
    return db


def _insert(db: sqlite3.Connection, bodies: list[str]) -> None:
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT INTO messages (body) VALUES (?)", [(body,) for body in bodies])
    db.execute("COMMIT")


def _claim(db: sqlite3.Connection, done: list[int]) -> list[tuple[int, str]]:
    db.execute("BEGIN IMMEDIATE")
    db.execute(
        "DELETE FROM messages WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(done),)
    )
    rows = db.execute(
        "SELECT id, body FROM messages WHERE claim IS NULL ORDER BY id LIMIT ?", (PUBLISHERS,)
    ).fetchall()
    db.execute(
        "UPDATE messages SET claim = 1 WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps([row[0] for row in rows]),),
    )
    db.execute("COMMIT")
    return rows
