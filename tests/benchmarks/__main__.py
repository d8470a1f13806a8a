"""Measures the host against its floors, interleaved: `python -m tests.benchmarks`."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.benchmarks import floor, ours, sqlite
from tests.benchmarks.workload import Workload

Run = Callable[[Workload], None]


@dataclass(frozen=True, slots=True)
class Case:
    """One row: what is measured, with which padding, and with which share of the messages."""

    name: str
    floor: Run
    ours: Run
    padding: int
    share: float


CASES = (
    Case("memory, 80 B table", floor.run, ours.run, 20, 1.0),
    Case("memory, 2 KB table", floor.run, ours.run, 1950, 0.2),
    Case("sqlite, 80 B table", sqlite.floor, sqlite.ours, 20, 0.4),
)


def rate(run: Run, work: Workload) -> float:
    """Returns messages per second of one run."""
    begin = time.perf_counter()
    run(work)
    return work.count / (time.perf_counter() - begin)


def measure(messages: int, runs: int) -> list[dict[str, object]]:
    """Runs floor and ours in turn and returns a row for each case."""
    rows: list[dict[str, object]] = []
    for case in CASES:
        work = Workload(max(1, int(messages * case.share)), case.padding)
        pairs = [(rate(case.floor, work), rate(case.ours, work)) for _ in range(runs)]
        rows.append(
            {
                "case": case.name,
                "floor": round(statistics.median(pair[0] for pair in pairs)),
                "ours": round(statistics.median(pair[1] for pair in pairs)),
                "ratio": round(statistics.median(pair[1] / pair[0] for pair in pairs), 3),
            }
        )
    return rows


def main() -> None:
    """Parses arguments, measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--messages", type=int, default=50_000, help="messages of a run")
    parser.add_argument("--runs", type=int, default=5, help="interleaved runs, the median counts")
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    arguments = parser.parse_args()
    rows = measure(arguments.messages, arguments.runs)
    if arguments.json:
        print(json.dumps({"python": platform.python_version(), "rows": rows}))
        return
    print(f"{'case':<24}{'floor/s':>12}{'ours/s':>12}{'ratio':>8}")
    for row in rows:
        print(f"{row['case']:<24}{row['floor']:>12}{row['ours']:>12}{row['ratio']:>8}")


if __name__ == "__main__":
    main()
