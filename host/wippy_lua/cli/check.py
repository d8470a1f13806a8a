"""`wippy-lua check`: load an app, Lua included, and start nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from wippy_lua.assembly import App, Purpose
from wippy_lua.cli.report import INVALID, OK, count, problem_line, problem_report
from wippy_lua.clock import SystemClock
from wippy_lua.errors import ConfigError
from wippy_lua.log import NullLog
from wippy_lua.registry.problem import Problem


def check(path: Path, *, overrides: Sequence[str], modules: Sequence[str], as_json: bool) -> int:
    """Prints what is wrong with an app and returns the exit status: 2 when there are errors.

    `modules` are those of the program that embeds the app: they may be required, and are empty.
    """
    try:
        app = App.load(
            path,
            python_modules={name: {} for name in modules},
            env=os.environ,
            overrides=overrides,
            make_log=lambda _level: NullLog(),
            log_level=None,
            clock=SystemClock(),
            purpose=Purpose.CHECK,
        )
    except ConfigError as error:
        click.echo(_json(error.problems) if as_json else problem_report(error.problems))
        return INVALID
    warnings = app.registry.problems
    click.echo(_json(warnings) if as_json else _summary(warnings, len(app.registry)))
    return OK


def _summary(warnings: Sequence[Problem], entries: int) -> str:
    ok = f"ok: {count(entries, 'entry', 'entries')}"
    if warnings:
        ok += f", {count(len(warnings), 'warning')}"
    return "\n".join([*map(problem_line, warnings), ok])


def _json(problems: Sequence[Problem]) -> str:
    ok = not any(problem.severity == "error" for problem in problems)
    return msgspec.json.encode({"ok": ok, "problems": problems}).decode()
