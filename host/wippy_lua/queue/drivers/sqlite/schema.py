"""The file of the SQLite driver: its tables, and the version of their format.

`messages` has one small row for each message, which is what changes; `contents` has what was
published, which does not, so that a claim does not write a large body again. Numbers (IDs,
positions, claims, leases) come from one sequence and are never used twice.

Other programs publish through the view `inbox`, whatever the tables behind it look like:

    INSERT INTO inbox(queue, body) VALUES ('tasks', '{"id": 1}');
"""

from __future__ import annotations

from typing import Final

from wippy_lua.sqlite.file import Format

#: The format that this code writes, and the only one it reads so far.
FORMAT: Final = 1

#: "WLua": tells our files from other people's databases.
APPLICATION_ID: Final = 0x574C7561

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

QUEUE_FILE: Final = Format("queue file", APPLICATION_ID, FORMAT, _TABLES + _INBOX)
