"""A database file of ours: its format, how it is opened, and its transactions.

Everything here runs on a native thread and blocks that thread only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from wippy_lua.errors import Kind, WippyError

Synchronous = Literal["full", "normal"]

#: Seconds that SQLite itself waits for another process's transaction.
BUSY_SECONDS: Final = 1.0

#: Pages (of 4 KiB) in the log before a commit copies them to the file: fewer, larger copies.
CHECKPOINT_PAGES: Final = 4000

_BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


@dataclass(frozen=True, slots=True)
class Format:
    """What a file holds. `name` is what errors call it, `application_id` tells it from other
    programs' databases, `tables` makes it."""

    name: str
    application_id: int
    version: int
    tables: str


def open_file(path: Path, form: Format, synchronous: Synchronous) -> sqlite3.Connection:
    """Opens the file, creating it and its folder; raises WippyError for one that is not ours.

    Raises `sqlite3.Error` or `OSError` for what may pass, such as a lock or a full disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        _prepare(db, path, form, synchronous)
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def transaction(
    db: sqlite3.Connection, mode: Literal["DEFERRED", "IMMEDIATE"] = "IMMEDIATE"
) -> Iterator[None]:
    """Commits what is done inside; when that raises, nothing of it was done."""
    db.execute(f"BEGIN {mode}")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # SQLite has done it already after some errors, a full disk among them.
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def is_busy(error: BaseException) -> bool:
    """Tells whether another process's transaction was in the way."""
    code = getattr(error, "sqlite_errorcode", 0)  # an extended one: the lower byte is the class
    return isinstance(error, sqlite3.OperationalError) and code & 0xFF in _BUSY


def failure_of(form: Format, path: Path, error: Exception) -> WippyError:
    """Returns what a caller gets for an error of SQLite or of the operating system."""
    if isinstance(error, WippyError):
        return error
    if isinstance(error, sqlite3.OperationalError | OSError):
        return WippyError(
            f"{form.name} {path}: {error}",
            kind=Kind.UNAVAILABLE,
            retryable=True,
            details={"file": str(path), "busy": is_busy(error)},
        )
    return WippyError(f"{form.name} {path}: {error}", kind=Kind.INTERNAL, retryable=False)


def _prepare(db: sqlite3.Connection, path: Path, form: Format, synchronous: Synchronous) -> None:
    # In a transaction, to see all or nothing of what another process is creating.
    with transaction(db, "DEFERRED"):
        _check_ours(db, path, form)
    mode = _pragma(db, "journal_mode = wal")
    if mode != "wal":
        raise _refused(form, path, f"cannot keep a write-ahead log there (journal mode {mode})")
    db.execute(f"PRAGMA synchronous = {synchronous}")
    db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    with transaction(db):
        # Looked at again under the lock: another process may be creating the same file.
        if not _check_ours(db, path, form):
            _create(db, form)


def _check_ours(db: sqlite3.Connection, path: Path, form: Format) -> bool:
    """Tells whether the tables are there; raises WippyError for what this code must not touch."""
    try:
        application, version = _pragma(db, "application_id"), _pragma(db, "user_version")
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        raise _refused(form, path, "is not an SQLite file") from error
    if application == form.application_id:
        if version != form.version:
            raise _refused(
                form,
                path,
                f"has format {version}, and this version reads {form.version}: upgrade wippy-lua",
            )
        return True
    if db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise _refused(form, path, "is a database of another program")
    return False


def _create(db: sqlite3.Connection, form: Format) -> None:
    # Not `executescript`, which would commit first.
    statement = ""
    for line in form.tables.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            db.execute(statement)
            statement = ""
    db.execute(f"PRAGMA application_id = {form.application_id}")
    db.execute(f"PRAGMA user_version = {form.version}")


def _pragma(db: sqlite3.Connection, text: str) -> object:
    return db.execute(f"PRAGMA {text}").fetchone()[0]


def _refused(form: Format, path: Path, why: str) -> WippyError:
    return WippyError(
        f"{form.name} {path} {why}",
        kind=Kind.INVALID,
        retryable=False,
        details={"file": str(path)},
    )
