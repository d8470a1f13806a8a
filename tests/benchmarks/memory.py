"""The memory driver: published in Lua, handled in Lua, one process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.benchmarks import floor, ours
from tests.benchmarks.cases import LARGE, SMALL, Case


@contextmanager
def cases() -> Iterator[list[Case]]:
    """Gives the cases; nothing has to be started."""
    yield [
        Case("memory, 80 B table", floor.plain, ours.run, SMALL, 1.0, floor.tight),
        Case("memory, 2 KB table", floor.plain, ours.run, LARGE, 0.1, floor.tight),
    ]
