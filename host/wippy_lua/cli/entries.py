"""`wippy-lua list`: the entries of an app, in a table."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from wippy_lua.cli.report import INVALID, OK, problem_report
from wippy_lua.errors import ConfigError
from wippy_lua.registry.entry import Entry
from wippy_lua.registry.kinds import Lifecycle
from wippy_lua.registry.loader import load_folder
from wippy_lua.registry.place import Place

COLUMNS = ("id", "kind", "where", "auto_start")
GAP = "  "


class Row(msgspec.Struct, frozen=True):
    """What is told of one entry; `auto_start` is None for what is no service."""

    id: str
    kind: str
    where: str
    auto_start: bool | None


def list_entries(path: Path, *, kind: str, as_json: bool) -> int:
    """Prints the entries of a kind, all for "", and returns the exit status."""
    try:
        registry = load_folder(Place.of(path).folder, env=os.environ)
    except ConfigError as error:
        click.echo(problem_report(error.problems), err=True)
        return INVALID
    rows = [_row(entry) for entry in registry.find(kind)]
    if as_json:
        click.echo(msgspec.json.encode(rows).decode())
    elif sys.stdout.isatty():
        _draw(rows)
    else:
        click.echo(_aligned([COLUMNS, *map(_cells, rows)]))
    return OK


def _row(entry: Entry) -> Row:
    lifecycle = getattr(entry.spec, "lifecycle", None)
    auto_start = lifecycle.auto_start if isinstance(lifecycle, Lifecycle) else None
    return Row(entry.id, entry.kind, str(entry.mark), auto_start)


def _cells(row: Row) -> tuple[str, ...]:
    words = {True: "yes", False: "no", None: "-"}
    return row.id, row.kind, row.where, words[row.auto_start]


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _draw(rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*_cells(row))
    Console().print(table, markup=False)
