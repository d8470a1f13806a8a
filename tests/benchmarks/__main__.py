"""Measures a driver's path against its floor, interleaved: `python -m tests.benchmarks`.

`--driver sqs` starts a queue service of its own.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable

from gevent import monkey

from tests.benchmarks import floor, ours
from tests.benchmarks.workload import Workload

SIZES = {"80 B": (20, 1.0), "2 KB": (1950, 0.2)}  #: padding, and share of the messages


def rate(run: Callable[[Workload], None], work: Workload) -> float:
    """Returns messages per second of one run."""
    begin = time.perf_counter()
    run(work)
    return work.count / (time.perf_counter() - begin)


def measure_memory(messages: int, runs: int) -> list[dict[str, object]]:
    """Runs floor and ours in turn and returns a row for each size."""
    rows: list[dict[str, object]] = []
    for size, (padding, share) in SIZES.items():
        work = Workload(max(1, int(messages * share)), padding)
        pairs = [(rate(floor.run, work), rate(ours.run, work)) for _ in range(runs)]
        rows.append(summary(f"memory, {size} table", pairs))
    return rows


def measure_sqs(messages: int, runs: int) -> list[dict[str, object]]:
    """Drains an SQS queue by the raw client and by a host in turn; a hundredth of the messages."""
    monkey.patch_all()
    from tests.benchmarks import sqs  # only here: it needs a client that others do not

    rows: list[dict[str, object]] = []
    with sqs.broker() as server:
        for size, (padding, share) in SIZES.items():
            work = Workload(max(100, int(messages * share / 100)), padding)
            pairs = [
                (work.count / sqs.floor(work, server), work.count / sqs.ours(work, server))
                for _ in range(runs)
            ]
            rows.append(summary(f"sqs, {size} table", pairs))
    return rows


def summary(case: str, pairs: list[tuple[float, float]]) -> dict[str, object]:
    """Sums up the rates of floor and ours, messages per second, of all runs."""
    return {
        "case": case,
        "floor": round(statistics.median(pair[0] for pair in pairs)),
        "ours": round(statistics.median(pair[1] for pair in pairs)),
        "ratio": round(statistics.median(pair[1] / pair[0] for pair in pairs), 3),
    }


MEASURES = {"memory": measure_memory, "sqs": measure_sqs}


def main() -> None:
    """Parses arguments, measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--driver", choices=MEASURES, default="memory")
    parser.add_argument("--messages", type=int, default=50_000, help="messages of a run")
    parser.add_argument("--runs", type=int, default=5, help="interleaved runs, the median counts")
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    arguments = parser.parse_args()
    rows = MEASURES[arguments.driver](arguments.messages, arguments.runs)
    if arguments.json:
        print(json.dumps({"python": platform.python_version(), "rows": rows}))
        return
    print(f"{'case':<24}{'floor/s':>12}{'ours/s':>12}{'ratio':>8}")
    for row in rows:
        print(f"{row['case']:<24}{row['floor']:>12}{row['ours']:>12}{row['ratio']:>8}")


if __name__ == "__main__":
    main()
