"""A store in an SQLite file: safe on one machine's disk, shared by any of its processes."""

from __future__ import annotations

import sqlite3
from math import inf
from pathlib import Path
from typing import Final, NamedTuple

from wippy_lua.clock import Clock, Timer
from wippy_lua.errors import WippyError
from wippy_lua.log import Log
from wippy_lua.registry.entry import Entry
from wippy_lua.registry.kinds import SqliteStoreSpec
from wippy_lua.sqlite.commits import Commits, Step, T
from wippy_lua.sqlite.file import Format, Synchronous
from wippy_lua.store.store import Done, Held
from wippy_lua.store.value import add, pack

#: One table for all stores of the file. A row has a value, or the token of a claim. `expires` is
#: Unix time, NULL for a value that stays.
_TABLES: Final = """
CREATE TABLE items (
  store TEXT NOT NULL,
  key BLOB NOT NULL,
  value BLOB,
  claim BLOB,
  expires REAL,
  PRIMARY KEY (store, key)
) WITHOUT ROWID;
CREATE INDEX expiring ON items (expires) WHERE expires IS NOT NULL;
"""

#: "WLuS": tells store files from queue files, and both from other people's databases.
STORE_FILE: Final = Format("store file", 0x574C7553, 1, _TABLES)

#: Rows of one clean-up: more would keep the callers of their transaction waiting.
CLEANUP_ROWS: Final = 1000


def from_entry(entry: Entry, clock: Clock, log: Log) -> SqliteStore:
    """Returns the store of a `store.sqlite` entry; its file is relative to its YAML."""
    spec = entry.spec_as(SqliteStoreSpec)
    return SqliteStore(
        entry.id,
        entry.folder / spec.file,
        clock,
        log,
        synchronous=spec.synchronous,
        cleanup_interval=spec.cleanup_interval,
        lease=spec.lease,
    )


class _Item(NamedTuple):
    value: bytes | None
    claim: bytes | None
    expires: float | None

    def is_held_by(self, token: bytes) -> bool:
        return self.claim == token


class SqliteStore:
    """The keys of one store in a file, which it may share with others.

    What has expired is never seen again; every `cleanup_interval` seconds (0: never) its room in
    the file is given to what comes.
    """

    def __init__(
        self,
        store_id: str,
        file: Path,
        clock: Clock,
        log: Log,
        *,
        synchronous: Synchronous = "full",
        cleanup_interval: float = 300.0,
        lease: float = 30.0,
    ) -> None:
        self.lease = lease
        self._id = store_id
        self._file = file
        self._clock = clock
        self._log = log.bind(store=store_id)
        self._synchronous: Synchronous = synchronous
        self._cleanup_interval = cleanup_interval
        self._cleanup: Timer | None = None
        self._commits: Commits | None = None

    def start(self) -> None:
        """Opens the file, creating it when it is not there."""
        if self._call(_can_expire, writes=False):
            self._arm()

    def stop(self) -> None:
        if self._cleanup is not None:
            self._cleanup.cancel()
            self._cleanup = None
        commits, self._commits = self._commits, None
        if commits is not None:
            commits.close()

    def get(self, key: bytes) -> bytes | None:
        item = self._call(lambda db: self._item(db, key), writes=False)
        return None if item is None else item.value

    def set(self, key: bytes, value: bytes, ttl: float = inf) -> None:
        self._call(lambda db: self._put(db, key, value, ttl))

    def set_if_absent(self, key: bytes, value: bytes, ttl: float = inf) -> bool:
        def step(db: sqlite3.Connection) -> bool:
            if self._value(db, key) is not None:
                return False
            self._put(db, key, value, ttl)
            return True

        return self._call(step)

    def incr(self, key: bytes, by: int, ttl: float = inf) -> int:
        def step(db: sqlite3.Connection) -> int:
            item = self._item(db, key)
            if item is None or item.value is None:
                total = add(None, by)
                self._put(db, key, pack(total), ttl)
            else:
                total = add(item.value, by)
                db.execute(
                    "UPDATE items SET value = ? WHERE store = ? AND key = ?",
                    (pack(total), self._id, key),
                )
            return total

        return self._call(step)

    def has(self, key: bytes) -> bool:
        return self._call(lambda db: self._has(db, key), writes=False)

    def delete(self, key: bytes) -> bool:
        def step(db: sqlite3.Connection) -> bool:
            found = self._has(db, key)
            if found:
                self._remove(db, key)
            return found

        return self._call(step)

    def claim(self, key: bytes, token: bytes) -> Done | Held | None:
        def step(db: sqlite3.Connection) -> Done | Held | None:
            item = self._item(db, key)
            if item is None:
                self._put(db, key, None, self.lease, claim=token)
                return None
            if item.value is not None:
                return Done(item.value)
            return Held((item.expires or inf) - self._clock.time())

        return self._call(step)

    def renew(self, key: bytes, token: bytes) -> bool:
        def step(db: sqlite3.Connection) -> bool:
            item = self._item(db, key)
            if item is None or not item.is_held_by(token):
                return False
            self._put(db, key, None, self.lease, claim=token)
            return True

        return self._call(step)

    def finish(self, key: bytes, token: bytes, value: bytes, ttl: float = inf) -> bool:
        def step(db: sqlite3.Connection) -> bool:
            item = self._item(db, key)
            if item is not None and not item.is_held_by(token):
                return False
            self._put(db, key, value, ttl)
            return True

        return self._call(step)

    def free(self, key: bytes, token: bytes) -> None:
        def step(db: sqlite3.Connection) -> None:
            item = self._item(db, key)
            if item is not None and item.is_held_by(token):
                self._remove(db, key)

        self._call(step)

    # In a transaction, on the native thread

    def _item(self, db: sqlite3.Connection, key: bytes) -> _Item | None:
        row = db.execute(
            "SELECT value, claim, expires FROM items WHERE store = ? AND key = ?"
            " AND (expires IS NULL OR expires > ?)",
            (self._id, key, self._clock.time()),
        ).fetchone()
        return None if row is None else _Item(*row)

    def _value(self, db: sqlite3.Connection, key: bytes) -> bytes | None:
        item = self._item(db, key)
        return None if item is None else item.value

    def _has(self, db: sqlite3.Connection, key: bytes) -> bool:
        row = db.execute(
            "SELECT 1 FROM items WHERE store = ? AND key = ? AND value IS NOT NULL"
            " AND (expires IS NULL OR expires > ?)",
            (self._id, key, self._clock.time()),
        ).fetchone()
        return row is not None

    def _put(
        self,
        db: sqlite3.Connection,
        key: bytes,
        value: bytes | None,
        ttl: float,
        claim: bytes | None = None,
    ) -> None:
        expires = None if ttl == inf else self._clock.time() + ttl
        db.execute(
            "INSERT OR REPLACE INTO items (store, key, value, claim, expires)"
            " VALUES (?, ?, ?, ?, ?)",
            (self._id, key, value, claim, expires),
        )

    def _remove(self, db: sqlite3.Connection, key: bytes) -> None:
        db.execute("DELETE FROM items WHERE store = ? AND key = ?", (self._id, key))

    # On the hub

    def _call(self, step: Step[T], *, writes: bool = True) -> T:
        if self._commits is None:
            self._commits = Commits(self._file, STORE_FILE, self._synchronous)
        if writes:
            self._arm()
        return self._commits.call(step, writes=writes)

    def _arm(self) -> None:
        if self._cleanup is None and self._cleanup_interval > 0 and self._commits is not None:
            self._cleanup = self._clock.call_later(self._cleanup_interval, self._clean_up)

    def _clean_up(self) -> None:
        can_expire = True
        try:
            while self._call(self._drop_expired) == CLEANUP_ROWS:
                pass
            can_expire = self._call(_can_expire, writes=False)
        except WippyError as error:
            self._log.warning("expired keys not dropped", error=error.message)
        self._cleanup = None
        if can_expire:
            self._arm()

    def _drop_expired(self, db: sqlite3.Connection) -> int:
        return db.execute(
            "DELETE FROM items WHERE (store, key) IN"
            " (SELECT store, key FROM items WHERE expires <= ? LIMIT ?)",
            (self._clock.time(), CLEANUP_ROWS),
        ).rowcount


def _can_expire(db: sqlite3.Connection) -> bool:
    rows = db.execute("SELECT 1 FROM items WHERE expires IS NOT NULL LIMIT 1")
    return rows.fetchone() is not None
