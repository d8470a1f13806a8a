"""How a run of tests is told: line by line, on a terminal as one line that changes, and as JSON."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence

import click
import msgspec

from wippy_lua.cli.testing.result import Result, Run
from wippy_lua.cli.testing.suite import Test

WORDS = {"passed": "ok", "failed": "FAIL", "skipped": "skip"}
COLOURS = {"passed": "green", "failed": "red", "skipped": "yellow"}
INDENT = "    "


class Progress:
    """Tells of tests while they run.

    With `lines` each result is a line; `live` is a last line on standard error that says what runs.
    """

    def __init__(self, total: int, *, lines: bool, live: bool, logs: bool) -> None:
        self._total = total
        self._lines = lines
        self._live = live
        self._logs = logs
        self._running: dict[str, None] = {}
        self._ended = 0
        self._failed = 0

    def began(self, test: Test) -> None:
        self._running[test.id] = None
        self._draw()

    def ended(self, test: Test, results: Sequence[Result]) -> None:
        self._running.pop(test.id, None)
        self._ended += 1
        self._failed += any(result.status == "failed" for result in results)
        self._clear()
        if self._lines:
            for result in results:
                click.echo(_line(result))
                if self._logs and result.status == "passed":
                    _echo(_log_lines(result))
        self._draw()

    def close(self) -> None:
        """Takes the last line away."""
        self._running.clear()
        self._clear()

    def _clear(self) -> None:
        if self._live:
            click.echo("\r\x1b[K", nl=False, err=True)

    def _draw(self) -> None:
        if not self._live:
            return
        failed = f", {self._failed} failed" if self._failed else ""
        running = ", ".join(self._running)
        text = f"{self._ended}/{self._total}{failed}  {running}"
        width = max(20, shutil.get_terminal_size().columns - 1)
        click.echo(f"\r\x1b[K{text[:width]}", nl=False, err=True)


def print_run(run: Run) -> None:
    """Prints what failed, with everything known of it, and the counts."""
    for result in run.results:
        if result.failure is not None:
            click.echo()
            click.echo(_line(result))
            _echo(_failure_lines(result))
    for problem in run.problems:
        click.secho(f"error: {problem}", fg="red")
    if any(result.failure for result in run.results):
        click.echo()
    click.echo(summary(run))


def summary(run: Run) -> str:
    """Returns "3 passed, 1 failed in 0.42s"."""
    counts = [(run.count("passed"), "passed"), (run.count("failed"), "failed")]
    counts.append((run.count("skipped"), "skipped"))
    said = [f"{number} {word}" for number, word in counts if number or word == "passed"]
    return f"{', '.join(said)} in {run.seconds:.2f}s"


def to_json(run: Run) -> str:
    """Returns the run as one object."""
    facts = {
        "ok": run.ok,
        "seconds": run.seconds,
        "passed": run.count("passed"),
        "failed": run.count("failed"),
        "skipped": run.count("skipped"),
        "problems": run.problems,
        "tests": [_facts(result) for result in run.results],
    }
    return msgspec.json.encode(facts, enc_hook=str).decode()


def _facts(result: Result) -> dict[str, object]:
    facts: dict[str, object] = {
        "id": result.id,
        "suite": result.suite,
        "case": result.case or None,
        "status": result.status,
        "seconds": result.seconds,
    }
    if result.failure is not None:
        facts["failure"] = result.failure
        facts["log"] = [
            {"time": line.time, "level": line.level, "msg": line.msg, **line.fields}
            for line in result.log
        ]
    return facts


def _line(result: Result) -> str:
    word = click.style(f"{WORDS[result.status]:<4}", fg=COLOURS[result.status])
    took = "" if result.status == "skipped" else f" ({_duration(result.seconds)})"
    return f"{word} [{result.suite}] {result.name}{took}"


def _failure_lines(result: Result) -> Iterator[str]:
    failure = result.failure
    if failure is None:
        return
    kind = f" ({failure.kind})" if failure.kind else ""
    yield from f"{failure.message}{kind}".splitlines()
    if failure.stack:
        yield "stack:"
        yield from (f"  {line}" for line in failure.stack.splitlines())
    yield from _log_lines(result)


def _log_lines(result: Result) -> Iterator[str]:
    if result.log:
        yield "log:"
        for line in result.log:
            yield from (f"  {part}" for part in str(line).splitlines())


def _echo(lines: Iterator[str]) -> None:
    for line in lines:
        click.echo(INDENT + line)


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:.2f}s"


def is_live() -> bool:
    """Tells whether a line that changes makes sense."""
    return sys.stdout.isatty() and sys.stderr.isatty()


def nothing_found(pattern: str | None) -> str:
    """Says why there is nothing to run."""
    if pattern is not None:
        return f"no test matches {pattern!r}"
    return "no tests: a test is a function.lua entry with 'meta: {type: test}'"
