"""Measures the host against its floors, interleaved: `python -m tests.benchmarks [driver ...]`.

A network driver starts a broker of its own.
"""

from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402 - patching comes first, as in the command line
import json  # noqa: E402
import platform  # noqa: E402
import statistics  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from importlib import import_module  # noqa: E402

from tests.benchmarks.cases import Case, Run  # noqa: E402
from tests.benchmarks.workload import Workload  # noqa: E402

DRIVERS = (
    "memory",
    "sqlite",
    "redis",
    "amqp",
    "sqs",
)  #: each a module here with a context manager `cases`
COLUMNS = ("floor", "tight", "ours", "of_floor", "of_tight")


def rate(run: Run | None, work: Workload) -> float:
    """Returns messages per second of one run, 0 where there is nothing to run."""
    return 0.0 if run is None else work.count / run(work)


def measure(case: Case, messages: int, runs: int) -> dict[str, object]:
    """Runs floors and ours in turn; returns the medians of rates and of their ratios."""
    work = Workload(max(1000, int(messages * case.share)), case.items)
    rounds = [[rate(run, work) for run in (case.floor, case.tight, case.ours)] for _ in range(runs)]
    floor, tight, ours = (round(statistics.median(rates)) for rates in zip(*rounds, strict=True))
    row: dict[str, object] = {
        "case": case.name,
        "floor": floor,
        "tight": None,
        "ours": ours,
        "of_floor": round(statistics.median(ours / floor for floor, _, ours in rounds), 2),
        "of_tight": None,
    }
    if case.tight is not None:
        of_tight = statistics.median(ours / tight for _, tight, ours in rounds)
        row |= {"tight": tight, "of_tight": round(of_tight, 2)}
    return row


def measure_all(drivers: Sequence[str], messages: int, runs: int) -> list[dict[str, object]]:
    """Measures every case of the drivers."""
    rows = []
    for driver in drivers:
        with import_module(f"tests.benchmarks.{driver}").cases() as cases:
            rows += [measure(case, messages, runs) for case in cases]
    return rows


def main() -> None:
    """Parses arguments, measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("drivers", nargs="*", help=f"of {', '.join(DRIVERS)} (default: memory)")
    parser.add_argument("--messages", type=int, default=50_000, help="messages of a run")
    parser.add_argument("--runs", type=int, default=5, help="interleaved runs, the median counts")
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    arguments = parser.parse_args()
    if unknown := set(arguments.drivers) - set(DRIVERS):
        parser.error(
            f"no benchmark of {', '.join(sorted(unknown))}: there are {', '.join(DRIVERS)}"
        )
    rows = measure_all(arguments.drivers or ["memory"], arguments.messages, arguments.runs)
    if arguments.json:
        print(json.dumps({"python": platform.python_version(), "rows": rows}))
        return
    print("messages per second; medians of", arguments.runs, "interleaved runs")
    print(f"{'case':<22}" + "".join(f"{column:>10}" for column in COLUMNS))
    for row in rows:
        figures = ("-" if row[column] is None else row[column] for column in COLUMNS)
        print(f"{row['case']:<22}" + "".join(f"{figure:>10}" for figure in figures))


if __name__ == "__main__":
    main()
