"""Steps in a file that callers wait for: as many as are wanted at a time share one transaction.

One greenlet runs transactions on one native thread. While one is on its way to the disk, whatever
comes meanwhile gathers for the next: so a commit costs the same for one step as for a thousand.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import gevent
from gevent.event import Event

from wippy_lua.errors import Kind, WippyError
from wippy_lua.sqlite.file import (
    Format,
    Synchronous,
    failure_of,
    is_busy,
    open_file,
    transaction,
)
from wippy_lua.sqlite.thread import NativeThread

T = TypeVar("T")

#: What is done in a transaction. It may raise WippyError, before it has changed anything.
Step: TypeAlias = Callable[[sqlite3.Connection], T]

#: Seconds that a caller waits for a file that other processes hold locked.
PATIENCE: Final = 10.0

#: Seconds before the next try, on top of those that SQLite itself waits.
BUSY_PAUSE: Final = 0.005


class _Waiting:
    """A step, its result or error, and the greenlet that waits for it."""

    __slots__ = ("done", "error", "is_left", "result", "step", "writes")

    def __init__(self, step: Step[Any], writes: bool) -> None:
        self.step = step
        self.writes = writes
        self.is_left = False
        self.result: Any = None
        self.error: WippyError | None = None
        self.done = Event()


class Commits:
    """One process's connection to a file. All methods are safe from any greenlet of one hub."""

    def __init__(self, path: Path, form: Format, synchronous: Synchronous) -> None:
        self._path = path
        self._form = form
        self._synchronous: Synchronous = synchronous
        self._coming: list[_Waiting] = []
        self._wake = Event()
        self._thread = NativeThread()
        self._db: sqlite3.Connection | None = None
        self._is_open = True
        self._pump = gevent.spawn(self._run)

    def call(self, step: Step[T], *, writes: bool = True) -> T:
        """Returns the result of a step whose transaction was committed; raises WippyError."""
        waiting = _Waiting(step, writes)
        if not self._is_open:
            raise self._closed()
        self._coming.append(waiting)
        self._wake.set()
        try:
            if not waiting.done.wait(PATIENCE):
                raise self._late()
        finally:
            waiting.is_left = True  # so that it is not begun any more
        if waiting.error is not None:
            raise waiting.error
        result: T = waiting.result
        return result

    def close(self) -> None:
        """Does what was asked for and disconnects."""
        self._is_open = False
        self._wake.set()
        self._pump.join()

    def _run(self) -> None:
        while self._is_open or self._coming:
            self._wake.wait()
            self._wake.clear()
            # The others who can run have their turn first: what they ask for joins this group.
            gevent.sleep(0)
            group, self._coming = [each for each in self._coming if not each.is_left], []
            if group:
                self._perform(group)
        if self._db is not None:
            self._thread.run(self._db.close)
        self._thread.end()

    def _perform(self, group: Sequence[_Waiting]) -> None:
        try:
            self._thread.run(self._commit, group)
        except Exception as error:  # noqa: BLE001 - whoever waits for the group must be told
            if is_busy(error) and self._is_open:  # another process's turn: they wait on
                self._coming[:0] = group
                self._wake.set()
                gevent.sleep(BUSY_PAUSE)
                return
            failure = failure_of(self._form, self._path, error)
            for each in group:
                # One for each: an error that is raised again and again keeps every traceback.
                each.error = WippyError(
                    failure.message,
                    kind=failure.kind,
                    retryable=failure.retryable,
                    details=failure.details,
                )
        for each in group:
            each.done.set()

    def _commit(self, group: Sequence[_Waiting]) -> None:
        """Runs on the native thread."""
        if self._db is None:
            self._db = open_file(self._path, self._form, self._synchronous)
        with transaction(self._db, "IMMEDIATE" if any(e.writes for e in group) else "DEFERRED"):
            for each in group:
                if each.is_left:
                    continue
                each.error = None
                try:
                    each.result = each.step(self._db)
                except WippyError as error:
                    each.error = error

    def _late(self) -> WippyError:
        return WippyError(
            f"{self._form.name} {self._path} was not there within {PATIENCE:g}s;"
            " what was asked for may be done all the same",
            kind=Kind.TIMEOUT,
            retryable=True,
        )

    def _closed(self) -> WippyError:
        return WippyError(
            f"{self._form.name} {self._path} is closed", kind=Kind.UNAVAILABLE, retryable=True
        )
