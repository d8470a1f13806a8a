"""`wippy-lua list`: the entries of an app, in a table."""

from __future__ import annotations

import os
from pathlib import Path

import click
import msgspec

from wippy_lua.cli.report import INVALID, OK, problem_report
from wippy_lua.cli.tables import print_json, print_table
from wippy_lua.errors import ConfigError
from wippy_lua.registry.entry import Entry
from wippy_lua.registry.kinds import Lifecycle
from wippy_lua.registry.loader import load_folder
from wippy_lua.registry.place import Place

COLUMNS = ("id", "kind", "where", "auto_start")


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
        print_json(rows)
    else:
        print_table(COLUMNS, [_cells(row) for row in rows])
    return OK


def _row(entry: Entry) -> Row:
    lifecycle = getattr(entry.spec, "lifecycle", None)
    auto_start = lifecycle.auto_start if isinstance(lifecycle, Lifecycle) else None
    return Row(entry.id, entry.kind, str(entry.mark), auto_start)


def _cells(row: Row) -> tuple[str, ...]:
    words = {True: "yes", False: "no", None: "-"}
    return row.id, row.kind, row.where, words[row.auto_start]
