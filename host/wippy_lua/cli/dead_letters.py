"""`wippy-lua dlq`: dead letters, seen, replayed and dropped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
import msgspec

from wippy_lua.cli.queues import age, confirmed, number, short, state
from wippy_lua.cli.report import FAILED, OK, Notes, count
from wippy_lua.cli.tables import NOTHING, draw, print_json, print_table
from wippy_lua.operations.choice import as_text
from wippy_lua.operations.contract import Operations
from wippy_lua.operations.values import Progress, QueueStatus, Selection, StoredMessage

if TYPE_CHECKING:
    from rich.console import RenderableType

    from wippy_lua.cli.signals import Signals

#: Shows how far an operation is.
Show = Callable[[Progress], None]


class Holder(msgspec.Struct, frozen=True):
    """A dead-letter queue, and the queues whose letters go there."""

    queue: QueueStatus
    sources: Sequence[str]


def list_holders(operations: Operations, *, as_json: bool) -> int:
    """Prints a line for each dead-letter queue; fails when there is none, or one without answer."""
    holders = _holders(operations.queues())
    if as_json:
        print_json(holders)
    elif holders:
        columns = ("dead-letter queue", "letters", "oldest", "from", "state")
        rows = [_holder_cells(holder) for holder in holders]
        print_table(columns, rows, numbers=("letters", "oldest"))
    else:
        click.echo("no queue has a dead-letter queue", err=True)
    return OK if holders and not any(holder.queue.error for holder in holders) else FAILED


def list_letters(operations: Operations, queue: str, selection: Selection, *, as_json: bool) -> int:
    """Prints a line for each letter of a queue; fails when there are none."""
    letters = operations.dead_letters(queue, selection)
    if as_json:
        print_json(letters)
    elif letters:
        columns = ("id", "original queue", "reason", "attempts", "died", "error")
        rows = [_letter_cells(letter) for letter in letters]
        print_table(columns, rows, numbers=("attempts",))
    return _found(letters, queue, as_json=as_json)


def show(operations: Operations, queue: str, selection: Selection, *, as_json: bool) -> int:
    """Prints letters with all that they have; fails when there are none."""
    letters = operations.dead_letters(queue, selection)
    if as_json:
        print_json(letters)
    elif sys.stdout.isatty():
        for letter in letters:
            draw(letter_panel(letter))
    else:
        click.echo("\n\n".join(map(letter_text, letters)), nl=bool(letters))
    return _found(letters, queue, as_json=as_json)


def replay(
    operations: Operations,
    queue: str,
    selection: Selection,
    signals: Signals,
    *,
    rate: float | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Sends letters back to where they came from."""
    steps = operations.replay(queue, selection, rate=rate, dry_run=dry_run)
    verb = "would replay" if dry_run else "replayed"
    return _follow(steps, signals, f"{verb} {{}} of {queue}", as_json=as_json)


def drop(
    operations: Operations,
    queue: str,
    selection: Selection,
    signals: Signals,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Removes letters for good, after asking."""
    if not yes and not dry_run:
        which = " that match" if selection.match or selection.ids else ""
        if not confirmed(f"Drop the dead letters of {queue}{which} for good?"):
            return FAILED
    steps = operations.drop(queue, selection, dry_run=dry_run)
    verb = "would drop" if dry_run else "dropped"
    return _follow(steps, signals, f"{verb} {{}} of {queue}", as_json=as_json)


def letter_text(letter: StoredMessage) -> str:
    """Returns a letter as plain text."""
    lines = [f"{name}: {value}" for name, value in _facts(letter)]
    lines += [f"header {name}: {as_text(value)}" for name, value in _own_headers(letter)]
    if letter.death is not None and letter.death.stack:
        lines += ["stack:", *(f"  {line}" for line in letter.death.stack.splitlines())]
    return "\n".join([*lines, f"body ({letter.encoding}):", _body_text(letter)])


def letter_panel(letter: StoredMessage) -> RenderableType:
    """Returns a letter to draw."""
    from rich.console import Group
    from rich.json import JSON
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    facts = Table(box=None, pad_edge=False, show_header=False)
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(letter)[1:]:
        facts.add_row(name, Text(value, style="red" if name == "error" else ""))
    for name, header in _own_headers(letter):
        facts.add_row(Text(name, style="cyan"), Text(as_text(header)))
    text = _body_text(letter)
    parts: list[RenderableType] = [facts]
    if letter.death is not None and letter.death.stack:
        parts += ["", Text(letter.death.stack, style="dim")]
    parts += ["", JSON(text) if letter.encoding == "json" else Text(text)]
    return Panel(Group(*parts), title=Text(letter.id, style="bold"), title_align="left")


def _holders(queues: Sequence[QueueStatus]) -> list[Holder]:
    named = {queue.dead_letter_queue for queue in queues}
    return [
        Holder(each, [queue.id for queue in queues if queue.dead_letter_queue == each.id])
        for each in queues
        if each.id in named
    ]


def _holder_cells(holder: Holder) -> Sequence[str]:
    queue = holder.queue
    letters = number(queue.depth, "~" if queue.approximate else "")
    return queue.id, letters, age(queue.oldest_age), ", ".join(holder.sources), state(queue)


def _letter_cells(letter: StoredMessage) -> Sequence[str]:
    death = letter.death
    if death is None:
        return letter.id, *(NOTHING for _ in range(5))
    attempts = NOTHING if death.attempts is None else str(death.attempts)
    error = ": ".join(part for part in (death.error_kind, death.error) if part)
    return (
        letter.id,
        death.original_queue,
        death.reason or NOTHING,
        attempts,
        death.time or NOTHING,
        short(error) or NOTHING,
    )


def _facts(letter: StoredMessage) -> Sequence[tuple[str, str]]:
    death = letter.death
    published = datetime.fromtimestamp(letter.published_at, UTC).isoformat(timespec="milliseconds")
    facts: list[tuple[str, object]] = [("id", letter.id)]
    if death is not None:
        facts += [
            ("original queue", death.original_queue),
            ("reason", death.reason),
            ("died", death.time),
            ("attempts", death.attempts),
            ("error kind", death.error_kind),
            ("error", death.error),
        ]
    facts += [("published", published), ("type", letter.content_type), ("size", letter.size)]
    return [(name, str(value)) for name, value in facts if value is not None]


def _own_headers(letter: StoredMessage) -> Sequence[tuple[str, str | bool | int | float]]:
    """Returns the headers that the publisher has set: the others are told by their names."""
    return [(name, value) for name, value in letter.headers.items() if not name.startswith("x_")]


def _body_text(letter: StoredMessage) -> str:
    if letter.encoding != "json":
        return str(letter.body)
    return msgspec.json.format(msgspec.json.encode(letter.body), indent=2).decode()


def _found(letters: Sequence[StoredMessage], queue: str, *, as_json: bool) -> int:
    if not letters and not as_json:
        click.echo(f"no dead letter found in {queue}", err=True)
    return OK if letters else FAILED


def _follow(steps: Iterator[Progress], signals: Signals, text: str, *, as_json: bool) -> int:
    """Goes along with an operation to its end, or to a signal; prints what came of it."""
    interrupted = _Interrupted()
    signals.stop_with(interrupted.set, Notes("console"))
    last = Progress()
    try:
        with _bar() as show_step:
            for last in steps:
                show_step(last)
                if interrupted.is_set:
                    break
    finally:
        _close(steps)
        if as_json:
            print_json(last)
        else:
            click.echo(_summary(last, text))
    return OK if last.finished and last.done and not last.left else FAILED


class _Interrupted:
    """Tells whether a signal has come."""

    is_set = False

    def set(self) -> None:
        self.is_set = True


def _close(steps: Iterator[Progress]) -> None:
    close = getattr(steps, "close", None)
    if close is not None:
        close()


def _summary(last: Progress, text: str) -> str:
    parts = [text.format(count(last.done, "dead letter"))]
    if last.skipped:
        parts.append(f"{last.skipped} did not match")
    parts += [f"{number} left: {reason}" for reason, number in last.left.items()]
    seen = last.done + last.skipped + sum(last.left.values())
    if last.total is not None and last.total > seen:
        parts.append(f"{last.total - seen} not looked at")
    if not last.finished:
        parts.append("not finished")
    return "; ".join(parts)


@contextmanager
def _bar() -> Iterator[Show]:
    """Yields what draws a progress bar on standard error, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda _progress: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    bar = Bar(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task("", total=None)
        yield lambda p: bar.update(
            task, completed=p.done + p.skipped + sum(p.left.values()), total=p.total
        )
