"""The SQLite store's file: shared, locked, cleaned up, refused."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import gevent
import pytest

from tests.host.apps import wait_for
from tests.lua.running import host_of
from wippy_lua.clock import SystemClock
from wippy_lua.errors import ConfigError, Kind, WippyError
from wippy_lua.log import NullLog
from wippy_lua.sqlite import commits
from wippy_lua.store.sqlite import CLEANUP_ROWS, SqliteStore
from wippy_lua.store.store import Held
from wippy_lua.testing import VirtualClock


class Place:
    """A file and stores in it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "store.db"
        self.clock = VirtualClock()
        self.stores: list[SqliteStore] = []

    def store(self, name: str = "app:kept", cleanup_interval: float = 60.0) -> SqliteStore:
        store = SqliteStore(
            name, self.file, self.clock, NullLog(), cleanup_interval=cleanup_interval
        )
        self.stores.append(store)
        return store

    def rows(self) -> int:
        with closing(sqlite3.connect(self.file)) as db:
            count: int = db.execute("SELECT count(*) FROM items").fetchone()[0]
            return count


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path)
    yield place
    for store in place.stores:
        store.stop()


def test_stores_of_one_file_have_keys_of_their_own(place: Place) -> None:
    one, two = place.store("app:one"), place.store("app:two")
    one.set(b"k", b"\x01")
    assert (two.get(b"k"), two.delete(b"k"), one.get(b"k")) == (None, False, b"\x01")


def test_expired_keys_leave_the_file_though_nobody_asks_for_them(place: Place) -> None:
    store = place.store(cleanup_interval=60)
    for number in range(2 * CLEANUP_ROWS + 1):
        gevent.spawn(store.set, b"%d" % number, b"\x01", 100)
    store.set(b"stays", b"\x01")
    store.set(b"stays, too", b"\x01")
    store.claim(b"claimed", b"one")
    assert place.rows() == 2 * CLEANUP_ROWS + 4
    place.clock.advance(60)
    wait_for(lambda: place.rows() == 2 * CLEANUP_ROWS + 3)  # the claim's lease is over
    place.clock.advance(60)
    wait_for(lambda: store._cleanup is None)  # nothing can expire any more
    assert place.rows() == 2


def test_what_another_host_left_in_the_file_expires_too(place: Place) -> None:
    first = place.store()
    first.set(b"k", b"\x01", 10)
    first.stop()
    second = place.store(cleanup_interval=60)
    second.start()
    place.clock.advance(60)
    wait_for(lambda: place.rows() == 0)


def test_the_hub_runs_on_while_another_process_has_the_file(place: Place) -> None:
    store = place.store()
    store.start()
    with closing(sqlite3.connect(place.file, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        setting = gevent.spawn(store.set, b"k", b"\x01")
        turns = 0
        while turns < 20:
            gevent.sleep(0.005)
            turns += 1
        assert not setting.dead
        db.execute("COMMIT")
    setting.get(timeout=10)
    assert store.get(b"k") == b"\x01"


def test_a_file_that_stays_locked_is_a_timeout_and_a_retry_can_help(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "PATIENCE", 0.2)
    store = place.store()
    store.start()
    with closing(sqlite3.connect(place.file, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(WippyError) as caught:
            store.set(b"k", b"\x01")
        assert (caught.value.kind, caught.value.retryable) == (Kind.TIMEOUT, True)
    assert store.set_if_absent(b"k", b"\x02") is True


def test_a_step_that_fails_fails_alone(place: Place) -> None:
    store = place.store()
    store.set(b"text", b"\xa1x")
    counting = [gevent.spawn(store.incr, key, 1) for key in (b"a", b"text", b"b")]
    gevent.joinall(counting, timeout=10)
    assert [each.value for each in counting] == [1, None, 1]
    assert isinstance(counting[1].exception, WippyError)


def test_a_database_of_another_program_is_left_alone(place: Place) -> None:
    with closing(sqlite3.connect(place.file)) as db:
        db.execute("CREATE TABLE theirs (x)")
    with pytest.raises(WippyError, match="is a database of another program") as caught:
        place.store().start()
    assert (caught.value.kind, caught.value.retryable) == (Kind.INVALID, False)


def test_a_host_with_a_file_that_is_not_ours_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "queue.db").write_text("no database")
    host = host_of(tmp_path, entries="- {name: kept, kind: store.sqlite, file: queue.db}\n")
    with pytest.raises(WippyError, match=r"queue\.db is not an SQLite file"):
        host.start()


def test_values_outlive_the_host_in_the_file_that_the_entry_names(tmp_path: Path) -> None:
    main = """
    local kv = require("store").get("app:kept")
    return {main = function() return {kv:get("k"), kv:set("k", {"kept"}, "1h")} end}
    """
    entries = "- {name: kept, kind: store.sqlite}\n"
    with host_of(tmp_path, entries=entries, main=main) as host:
        assert host.run_main() == {2: True}
    assert (tmp_path / "data" / "store.db").exists()
    with host_of(tmp_path, entries=entries, main=main) as host:
        assert host.run_main() == [["kept"], True]


@pytest.mark.parametrize("field", ["lease: 100ms", "synchronous: off", "max_size: 5", "file: ''"])
def test_a_field_that_cannot_be_is_a_problem(tmp_path: Path, field: str) -> None:
    host_of(tmp_path)
    with pytest.raises(ConfigError, match="app:kept"):
        host_of(tmp_path, entries=f"- {{name: kept, kind: store.sqlite, {field}}}\n")


def test_a_stop_of_the_host_frees_what_its_calls_have_claimed(tmp_path: Path) -> None:
    main = """
    local store, time = require("store"), require("time")
    return {main = function()
      return store.get("app:kept"):once("k", "1h", function() time.sleep("1h") end)
    end}
    """
    entries = "- {name: kept, kind: store.sqlite, file: store.db}\n"
    host = host_of(tmp_path, entries=entries, main=main)
    host.start()
    running = gevent.spawn(host.run_main)
    other = SqliteStore("app:kept", tmp_path / "store.db", SystemClock(), NullLog())

    def is_held() -> bool:
        found = other.claim(b"k", b"probe")
        other.free(b"k", b"probe")
        return isinstance(found, Held)

    wait_for(is_held)
    host.stop()
    assert other.claim(b"k", b"other") is None
    other.stop()
    running.join(timeout=5)
    assert running.exception is not None
