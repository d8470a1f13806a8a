"""The connection to the file: opens it, runs groups in transactions, and leaves it tidy.

Every method runs on the one native thread that the session gives it, and blocks that thread only.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from wippy_lua.queue.drivers.sqlite.group import Group, Lease, Report
from wippy_lua.queue.drivers.sqlite.schema import QUEUE_FILE
from wippy_lua.queue.drivers.sqlite.transaction import Transaction
from wippy_lua.sqlite.file import Synchronous, open_file, transaction


class Store:
    """One process's connection to a queue file."""

    def __init__(self, path: Path, synchronous: Synchronous, lease_seconds: float) -> None:
        self.path = path
        self._synchronous: Synchronous = synchronous
        self._lease_seconds = lease_seconds
        self._lease = Lease()
        self._version = 0
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Connects; raises WippyError for a file that is not ours, else as SQLite and the OS do."""
        self._connection = open_file(self.path, QUEUE_FILE, self._synchronous)

    def run(self, group: Group) -> Report:
        """Does a group in one transaction: when this returns, it is on the disk.

        When it raises, nothing of the group was done.
        """
        db = self._db
        with transaction(db):
            steps = Transaction(db, group.now, self._lease, self._lease_seconds)
            report = steps.perform(group)
        self._lease = steps.lease
        return report

    def has_changed(self) -> bool:
        """Tells whether another process has committed anything since this was last asked."""
        version: int = self._db.execute("PRAGMA data_version").fetchone()[0]
        changed = version != self._version
        self._version = version
        return changed

    def give_back(self, now: float) -> None:
        """Makes what this process holds available to others at once."""
        db = self._db
        with transaction(db):
            Transaction(db, now, self._lease, self._lease_seconds).give_back()
        self._lease = Lease()

    def close(self) -> None:
        """Disconnects; quiet when not connected."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise AssertionError(f"{self.path} is not open")
        return self._connection
