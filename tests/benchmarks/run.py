"""Measures the host against its floors and against other systems, interleaved.

`python -m tests.benchmarks [case ...]` takes groups (memory, redis, ...) and prints a table; the
whole default run takes some six minutes. A broker that a case needs is started for it.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from functools import partial
from importlib import import_module

from tests.benchmarks import report
from tests.benchmarks.brokers import Brokers
from tests.benchmarks.cases import Row, Scale
from tests.benchmarks.measure import PEER_ROUNDS, measure

#: Each is a module here with a context manager `cases`.
DEFAULT = (
    "memory",
    "sqlite",
    "redis",
    "amqp",
    "sleepers",
    "latency",
    "fairness",
    "startup",
    "codec",
    "hook",
)
LONG = ("depth", "sqs")  #: only by name or with --all
GROUPS = (*DEFAULT, *LONG)


def measure_groups(
    groups: Sequence[str],
    scale: Scale,
    runs: int,
    brokers: Brokers,
    peer_runs: int = PEER_ROUNDS,
) -> list[Row]:
    """Measures every case of the groups and tells on standard error what it is at."""
    rows = []
    for group in groups:
        with import_module(f"tests.benchmarks.{group}").cases(scale, brokers) as cases:
            for case in cases:
                begin = time.monotonic()
                rows += measure(case, runs, partial(_progress, case.name), peer_runs)
                _progress(case.name, f"took {time.monotonic() - begin:.0f} s", end="\n")
    return rows


def _progress(name: str, text: str, end: str = "") -> None:
    if end or sys.stderr.isatty():
        start = "\r\033[K" if sys.stderr.isatty() else ""
        print(f"{start}{name}: {text}", end=end, file=sys.stderr, flush=True)


def main(words: Sequence[str] | None = None) -> None:
    """Parses arguments, measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", help=f"of {', '.join(GROUPS)}")
    parser.add_argument("--all", action="store_true", help=f"{' and '.join(LONG)}, too")
    parser.add_argument("--runs", type=int, default=5, help="interleaved runs, the median counts")
    parser.add_argument("--no-peers", action="store_true", help="leave other systems out")
    parser.add_argument("--scale", type=float, default=1.0, help="part of the full work")
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    parser.add_argument(
        "--write", action="store_true", help="put the table into README.md here, and draw the plots"
    )
    arguments = parser.parse_args(words)
    if unknown := set(arguments.groups) - set(GROUPS):
        parser.error(f"no benchmark of {', '.join(sorted(unknown))}: there are {', '.join(GROUPS)}")
    groups = arguments.groups or (GROUPS if arguments.all else DEFAULT)
    peer_runs = 0 if arguments.no_peers else PEER_ROUNDS
    with Brokers() as brokers:
        scale = Scale(arguments.scale)
        rows = measure_groups(groups, scale, arguments.runs, brokers, peer_runs)
    print(report.as_json(rows) if arguments.json else report.as_table(rows))
    if arguments.write:
        report.write(rows, arguments.runs)
