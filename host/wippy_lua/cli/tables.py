"""How commands show data: rows in columns, drawn on a terminal, aligned as plain text elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
import msgspec

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

GAP = "  "
NOTHING = "-"  #: stands for what is not known or not there

Rows = Sequence[Sequence[str]]


def print_json(value: object) -> None:
    """Prints a value as one line of JSON."""
    click.echo(msgspec.json.encode(value).decode())


def print_table(columns: Sequence[str], rows: Rows, *, numbers: Sequence[str] = ()) -> None:
    """Prints rows below the names of their columns; those in `numbers` are aligned to the right."""
    if sys.stdout.isatty():
        draw(table(columns, rows, numbers=numbers))
    else:
        click.echo(aligned([columns, *rows], {columns.index(name) for name in numbers}))


def aligned(lines: Rows, right: set[int] | frozenset[int] = frozenset()) -> str:
    """Returns lines whose cells stand below one another."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        GAP.join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def table(columns: Sequence[str], rows: Rows, *, numbers: Sequence[str] = ()) -> RenderableType:
    """Returns a table to draw."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        right = name in numbers
        drawn.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*map(Text, row))
    return drawn


def draw(what: RenderableType, console: Console | None = None) -> None:
    """Draws on standard output, or where it is told."""
    if console is None:
        from rich.console import Console

        console = Console()
    console.print(what)
