"""Measures the memory path against its floor, interleaved: `python -m tests.benchmarks`."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Callable, Sequence

from tests.benchmarks import floor, ours
from tests.benchmarks.workload import Workload

SIZES = {"80 B": (0, 1.0), "2 KB": (36, 0.1)}  #: items in a body, and share of the messages


def rate(run: Callable[[Workload], float], work: Workload) -> float:
    """Returns messages per second of one run."""
    return work.count / run(work)


def measure(messages: int, runs: int) -> list[dict[str, object]]:
    """Runs floor and ours in turn and returns a row for each size."""
    rows: list[dict[str, object]] = []
    for size, (items, share) in SIZES.items():
        work = Workload(max(1, int(messages * share)), items)
        rounds = [
            tuple(rate(run, work) for run in (floor.plain, floor.tight, ours.run))
            for _ in range(runs)
        ]
        rows.append(_row(f"memory, {size} table", rounds))
    return rows


def _row(case: str, rounds: Sequence[tuple[float, ...]]) -> dict[str, object]:
    plain, tight, ours_ = (round(statistics.median(rates)) for rates in zip(*rounds, strict=True))
    return {
        "case": case,
        "floor": plain,
        "tight": tight,
        "ours": ours_,
        "of_floor": round(statistics.median(each[2] / each[0] for each in rounds), 2),
        "of_tight": round(statistics.median(each[2] / each[1] for each in rounds), 2),
    }


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
    print("messages per second; medians of", arguments.runs, "interleaved runs")
    print(f"{'case':<20}{'floor':>10}{'tight':>10}{'ours':>10}{'of floor':>10}{'of tight':>10}")
    for row in rows:
        case, *figures = row.values()
        print(f"{case:<20}" + "".join(f"{figure:>10}" for figure in figures))


if __name__ == "__main__":
    main()
