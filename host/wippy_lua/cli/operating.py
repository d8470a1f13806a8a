"""Where an operator's command works: on the brokers of an app, or through its running host."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from wippy_lua.cli.report import FAILED, INVALID, problem_report
from wippy_lua.clock import SystemClock
from wippy_lua.errors import ConfigError, Kind, WippyError
from wippy_lua.log import LateLog, make_log
from wippy_lua.operations.contract import Operations
from wippy_lua.operations.opening import open_queues
from wippy_lua.registry.suggest import did_you_mean


@dataclass(frozen=True, slots=True)
class Target:
    """An app by its path, or the host at `admin`, which knows its app itself."""

    path: Path
    overrides: Sequence[str]
    admin: str | None
    token: str | None

    @contextmanager
    def operations(self) -> Iterator[Operations]:
        """Yields the verbs; raises ConfigError for an app that is wrong, WippyError."""
        if self.admin is None:
            log = LateLog(partial(make_log, "warn"))
            with open_queues(
                self.path,
                env=os.environ,
                overrides=self.overrides,
                clock=SystemClock(),
                log=log,
            ) as operations:
                yield operations
            return
        from wippy_lua.operations.remote import RemoteOperations

        url = self.admin if "://" in self.admin else f"http://{self.admin}"
        try:
            remote = RemoteOperations(url, self.token)
        except ValueError as error:
            raise WippyError(f"--admin: {error}", kind=Kind.INVALID, retryable=False) from error
        yield remote


def operate(target: Target, work: Callable[[Operations], int]) -> int:
    """Does what a command wants and returns the exit status: of `work`, or of what it raised."""
    try:
        with target.operations() as operations:
            try:
                return work(operations)
            except WippyError as error:
                if error.kind is Kind.NOT_FOUND:
                    click.echo(
                        f"error: {error.message}{_hint(target, operations, error)}", err=True
                    )
                    return FAILED
                raise
    except ConfigError as error:
        click.echo(problem_report(error.problems), err=True)
        return INVALID
    except WippyError as error:
        click.echo(f"error: {error.message}", err=True)
        return INVALID if error.kind is Kind.INVALID else FAILED


def _hint(target: Target, operations: Operations, error: WippyError) -> str:
    """Returns what might help who asked for a queue that is not there."""
    known = [status.id for status in operations.queues()]
    if known or target.admin is not None:
        return did_you_mean(str((error.details or {}).get("queue", "")), known)
    return (
        "; no _index.yaml of the app has a queue. What main.lua declares is known to the running"
        " host: see --admin"
    )
