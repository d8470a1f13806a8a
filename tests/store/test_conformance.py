"""The memory and the SQLite store pass the conformance suite, on clocks that are moved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from wippy_lua.log import NullLog
from wippy_lua.store.memory import MemoryStore
from wippy_lua.store.sqlite import SqliteStore
from wippy_lua.store.store import Store
from wippy_lua.testing import StoreSuite, VirtualClock


class VirtualSuite(StoreSuite):
    @pytest.fixture
    def clock(self) -> VirtualClock:
        return VirtualClock()

    @pytest.fixture(autouse=True)
    def _keep_clock(self, clock: VirtualClock) -> None:
        self._clock = clock

    def advance(self, seconds: float) -> None:
        self._clock.advance(seconds)


class TestMemory(VirtualSuite):
    survives_restart = False

    @pytest.fixture
    def store(self, clock: VirtualClock) -> Iterator[Store]:
        store = MemoryStore("app:cache", clock, max_size=100, cleanup_interval=60)
        yield store
        store.stop()


class TestSqlite(VirtualSuite):
    @pytest.fixture
    def store(self, clock: VirtualClock, tmp_path: Path) -> Iterator[Store]:
        store = SqliteStore("app:kept", tmp_path / "data" / "store.db", clock, NullLog())
        store.start()
        yield store
        store.stop()

    @pytest.fixture
    def other(self, store: Store, clock: VirtualClock, tmp_path: Path) -> Iterator[Store]:
        other = SqliteStore("app:kept", tmp_path / "data" / "store.db", clock, NullLog())
        yield other
        other.stop()


class TestMemoryWithLeases(TestMemory):
    """As its claims would be if their holders could be lost: what the others are held to."""

    @pytest.fixture
    def store(self, clock: VirtualClock) -> Iterator[Store]:
        store = MemoryStore("app:cache", clock, max_size=100, cleanup_interval=60, lease=30)
        yield store
        store.stop()
