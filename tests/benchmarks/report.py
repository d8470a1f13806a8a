"""Shows rows: a table on the terminal, JSON for scripts, and README.md with its plots."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from tests.benchmarks import plot
from tests.benchmarks.cases import Row

HERE = Path(__file__).parent
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
HEADER = ("case", "floor", "ours", "ours / floor", "goal", "peers")


def as_json(rows: Sequence[Row]) -> str:
    """Returns the rows and what they were measured on."""
    return msgspec.json.encode({"machine": machine(), "rows": rows}).decode()


def as_table(rows: Sequence[Row]) -> str:
    """Returns a table in columns."""
    lines = [HEADER, *map(cells, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, 4, 5) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def as_markdown(rows: Sequence[Row]) -> str:
    """Returns the table as Markdown."""
    rule = "|---|---:|---:|---:|---|---|"
    return "\n".join([_line(HEADER), rule, *(_line(cells(row)) for row in rows)])


def cells(row: Row) -> tuple[str, ...]:
    """Returns a row as text, in the order of HEADER."""
    ratio = "" if row.of_floor is None else f"{row.of_floor:.2f}"
    missed = " (missed)" if row.met is False else ""
    peers = ", ".join(f"{name} {number(rate)}" for name, rate in row.peers.items())
    floor = "" if row.floor is None else number(row.floor)
    return f"{row.title} ({row.unit})", floor, number(row.ours), ratio, row.goal + missed, peers


def number(value: float) -> str:
    """Returns a figure with three digits that count."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def machine() -> str:
    """Returns the date, and what the rows were measured on."""
    names = ", ".join(f"{name} {version(name)}" for name in ("gevent", "lupa"))
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.system()} {platform.machine()},"
        f" {os.cpu_count()} cores, Python {platform.python_version()}, {names}"
    )


def write(rows: Sequence[Row], runs: int) -> None:
    """Puts the table into README.md, between its marks, and draws the plots beside it."""
    page = HERE / "README.md"
    about = f"{machine()}; medians of {runs} interleaved runs."
    text = "\n\n".join([BEGIN, about, as_markdown(rows), END])
    page.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: text, page.read_text(), flags=re.DOTALL))
    for name, drawing in plot.plots(rows).items():
        (HERE / name).write_text(drawing)


def _line(words: Sequence[str]) -> str:
    return "| " + " | ".join(words) + " |"
