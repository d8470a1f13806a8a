"""The file of the SQLite driver: its tables, its format version, and how it is opened.

`messages` has one small row for each message, which is what changes; `contents` has what was
published, which does not, so that a claim does not write a large body again. Numbers (IDs,
positions, claims, leases) come from one sequence and are never used twice.

Other programs publish through the view `inbox`, whatever the tables behind it look like:

    INSERT INTO inbox(queue, body) VALUES ('tasks', '{"id": 1}');
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final, Literal

from wippy_lua.errors import Kind, WippyError

Synchronous = Literal["full", "normal"]

#: The format that this code writes, and the only one it reads so far.
FORMAT: Final = 1

#: "WLua": tells our files from other people's databases.
APPLICATION_ID: Final = 0x574C7561

#: Seconds that SQLite itself waits for another process's transaction.
BUSY_SECONDS: Final = 1.0

#: Pages (of 4 KiB) in the log before a commit copies them to the file: fewer, larger copies.
CHECKPOINT_PAGES: Final = 4000

READY: Final = 0
DELAYED: Final = 1
IN_FLIGHT: Final = 2

_TABLES: Final = """
CREATE TABLE sequence (last INTEGER NOT NULL);
INSERT INTO sequence VALUES (0);

CREATE TABLE queues (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  max_length INTEGER,
  ready INTEGER NOT NULL DEFAULT 0,
  delayed INTEGER NOT NULL DEFAULT 0,
  in_flight INTEGER NOT NULL DEFAULT 0
);

-- One for each process: while it is renewed, so are all deliveries that were claimed under it.
CREATE TABLE leases (id INTEGER PRIMARY KEY, until REAL NOT NULL);

CREATE TABLE messages (
  id INTEGER PRIMARY KEY,
  queue INTEGER NOT NULL,
  state INTEGER NOT NULL,
  priority INTEGER NOT NULL,
  position INTEGER NOT NULL,
  published_at REAL NOT NULL,
  attempt INTEGER NOT NULL DEFAULT 0,
  due REAL,
  expires REAL,
  claim INTEGER,
  lease INTEGER,
  held_until REAL
);
CREATE INDEX ready ON messages (queue, priority DESC, position) WHERE state = 0;
CREATE INDEX delayed ON messages (due) WHERE state = 1;
CREATE INDEX expiring ON messages (expires) WHERE expires IS NOT NULL AND state < 2;
CREATE INDEX age ON messages (queue, published_at);

-- Headers are MessagePack when they are a BLOB, JSON when they are TEXT.
CREATE TABLE contents (
  id INTEGER PRIMARY KEY,
  message_id TEXT NOT NULL,
  content_type TEXT NOT NULL,
  headers,
  body BLOB NOT NULL
);
CREATE TRIGGER contents_end AFTER DELETE ON messages BEGIN
  DELETE FROM contents WHERE id = old.id;
END;
"""

_INBOX: Final = """
CREATE VIEW inbox AS
  SELECT NULL AS queue, NULL AS body, NULL AS content_type, NULL AS headers WHERE 0;
CREATE TRIGGER inbox_insert INSTEAD OF INSERT ON inbox BEGIN
  SELECT RAISE(ABORT, 'no such queue')
    WHERE NOT EXISTS (SELECT 1 FROM queues WHERE name = new.queue);
  SELECT RAISE(ABORT, 'headers are not a JSON object')
    WHERE new.headers IS NOT NULL
      AND CASE WHEN json_valid(new.headers) THEN json_type(new.headers) ELSE '' END <> 'object';
  SELECT RAISE(ABORT, 'the queue is full') FROM queues
    WHERE name = new.queue AND ready + delayed >= max_length;
  UPDATE sequence SET last = last + 1;
  INSERT INTO contents
    SELECT last, lower(hex(randomblob(16))),
      coalesce(new.content_type, CASE
        WHEN typeof(new.body) = 'blob' THEN 'application/octet-stream'
        WHEN json_valid(new.body) THEN 'application/json'
        ELSE 'text/plain' END),
      new.headers, CAST(new.body AS BLOB)
    FROM sequence;
  INSERT INTO messages (id, queue, state, priority, position, published_at)
    SELECT last, queues.id, 0,
      CASE WHEN json_type(new.headers, '$.priority') = 'integer'
          AND json_extract(new.headers, '$.priority') BETWEEN 0 AND 9
        THEN json_extract(new.headers, '$.priority') ELSE 0 END,
      last, (julianday('now') - 2440587.5) * 86400.0
    FROM sequence, queues WHERE queues.name = new.queue;
  UPDATE queues SET ready = ready + 1 WHERE name = new.queue;
END;
"""


def open_file(path: Path, synchronous: Synchronous) -> sqlite3.Connection:
    """Opens the file, creating it and its folder; raises WippyError for one that is not ours.

    Raises `sqlite3.Error` or `OSError` for what may pass, such as a lock or a full disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _prepare(db, path, synchronous)
    except BaseException:
        db.close()
        raise
    return db


def _prepare(db: sqlite3.Connection, path: Path, synchronous: Synchronous) -> None:
    # In a transaction, to see all or nothing of what another process is creating.
    db.execute("BEGIN")
    _check_ours(db, path)
    db.execute("COMMIT")
    mode = _pragma(db, "journal_mode = wal")
    if mode != "wal":
        raise _refused(path, f"cannot keep a write-ahead log there (journal mode {mode})")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    db.execute("BEGIN IMMEDIATE")
    try:
        # Looked at again under the lock: another process may be creating the same file.
        if not _check_ours(db, path):
            _create(db)
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise


def _check_ours(db: sqlite3.Connection, path: Path) -> bool:
    """Tells whether the tables are there; raises WippyError for what this code must not touch."""
    try:
        application, version = _pragma(db, "application_id"), _pragma(db, "user_version")
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        raise _refused(path, "is not an SQLite file") from error
    if application == APPLICATION_ID:
        if version != FORMAT:
            raise _refused(
                path, f"has format {version}, and this version reads {FORMAT}: upgrade wippy-lua"
            )
        return True
    if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise _refused(path, "is a database of another program")
    return False


def _create(db: sqlite3.Connection) -> None:
    # Not `executescript`, which would commit first.
    statement = ""
    for line in (_TABLES + _INBOX).splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            db.execute(statement)
            statement = ""
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {FORMAT}")


def _pragma(db: sqlite3.Connection, text: str) -> object:
    return db.execute(f"PRAGMA {text}").fetchone()[0]


def _refused(path: Path, why: str) -> WippyError:
    return WippyError(
        f"queue file {path} {why}",
        kind=Kind.INVALID,
        retryable=False,
        details={"file": str(path)},
    )
