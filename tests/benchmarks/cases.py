"""What a benchmark is: the same work by a bare loop and by a host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks.workload import Workload

#: Does the work once and returns the seconds that it took, setup excluded.
Run = Callable[[Workload], float]

SMALL, LARGE = 0, 36  #: items in a body of some 80 bytes and of some 2 KB


@dataclass(frozen=True, slots=True)
class Case:
    """One row; `share` is the part of the messages asked for that this case is measured with.

    `tight` is a second floor, where it makes a difference how the first one is written.
    """

    name: str
    floor: Run
    ours: Run
    items: int = SMALL
    share: float = 1.0
    tight: Run | None = None
