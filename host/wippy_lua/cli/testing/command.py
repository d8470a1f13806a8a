"""`wippy-lua test`: call an app's tests, with its drivers replaced by memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from wippy_lua.assembly import App, Purpose
from wippy_lua.cli.report import FAILED, INVALID, OK, Notes, problem_report
from wippy_lua.cli.signals import Signals
from wippy_lua.cli.testing.junit import write_junit
from wippy_lua.cli.testing.recorder import Recorder
from wippy_lua.cli.testing.report import Progress, is_live, nothing_found, print_run, to_json
from wippy_lua.cli.testing.result import Run
from wippy_lua.cli.testing.runner import Runner
from wippy_lua.cli.testing.suite import Test, find_tests
from wippy_lua.clock import SystemClock
from wippy_lua.errors import ConfigError


def test(
    path: Path,
    *,
    pattern: str | None,
    jobs: int,
    timeout: float,
    overrides: Sequence[str],
    as_json: bool,
    junit: Path | None,
    verbose: bool,
    signals: Signals,
) -> int:
    """Runs the tests of an app and returns the exit status; `timeout` is seconds for each."""
    recorder = Recorder()
    try:
        app = _load(path, overrides, recorder)
        tests = find_tests(app.registry, app.policies)
    except ConfigError as error:
        click.echo(problem_report(error.problems), err=True)
        return INVALID
    chosen = [each for each in tests if pattern is None or each.matches(pattern)]
    if not chosen:
        click.echo(nothing_found(pattern if tests else None), err=True)
        return FAILED
    progress = _progress(len(chosen), quiet=as_json, verbose=verbose)
    runner = Runner(
        app, recorder, jobs=jobs, timeout=timeout, began=progress.began, ended=progress.ended
    )
    signals.stop_with(runner.interrupt, Notes("console"))
    run = _run(runner, chosen, progress)
    if run is None:
        return INVALID
    if as_json:
        click.echo(to_json(run))
    else:
        print_run(run)
    return _status(run, junit)


def _progress(total: int, *, quiet: bool, verbose: bool) -> Progress:
    live = is_live() and not quiet
    lines = not quiet and (verbose or not live)
    return Progress(total, lines=lines, live=live, logs=verbose)


def _load(path: Path, overrides: Sequence[str], recorder: Recorder) -> App:
    return App.load(
        path,
        python_modules={},
        env=os.environ,
        overrides=overrides,
        make_log=recorder.log,
        log_level=None,
        clock=SystemClock(),
        purpose=Purpose.TEST,
    )


def _run(runner: Runner, tests: Sequence[Test], progress: Progress) -> Run | None:
    try:
        return runner.run(tests)
    except Exception as error:  # noqa: BLE001 - whatever a service raises, there is nothing to test
        progress.close()
        click.echo(f"error: cannot start the app: {error}", err=True)
        return None
    finally:
        progress.close()


def _status(run: Run, junit: Path | None) -> int:
    if junit is not None:
        try:
            write_junit(run, junit)
        except OSError as error:
            click.echo(f"error: {junit}: {error.strerror}", err=True)
            return FAILED
    return OK if run.ok else FAILED
