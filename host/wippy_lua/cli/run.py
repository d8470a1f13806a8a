"""`wippy-lua run`: load an app, start it, run its main.lua, serve."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import click

from wippy_lua.cli.report import INVALID, Notes, problem_report
from wippy_lua.cli.session import Session
from wippy_lua.cli.signals import Signals
from wippy_lua.cli.startup import import_structlog
from wippy_lua.errors import ConfigError
from wippy_lua.host import Host
from wippy_lua.log import Format, make_log
from wippy_lua.registry.suggest import did_you_mean


def run(
    path: Path,
    *,
    services: Sequence[str],
    arguments: Sequence[str],
    overrides: Sequence[str],
    drain: bool,
    log_level: str | None,
    log_format: Format,
    signals: Signals,
) -> int:
    """Runs an app and returns the exit status; nothing starts when anything is wrong with it."""
    import_structlog()
    try:
        host = Host(
            path,
            overrides=overrides,
            log_level=log_level,
            make_log=partial(make_log, fmt=log_format),
        )
    except ConfigError as error:
        click.echo(problem_report(error.problems), err=True)
        return INVALID
    unknown = _unknown(services, host.services())
    if unknown:
        click.echo("\n".join(unknown), err=True)
        return INVALID
    notes = Notes(log_format)
    session = Session(host, notes)
    signals.stop_with(session.interrupt, notes)
    return session.run(services, arguments, drain=drain)


def _unknown(services: Iterable[str], known: Iterable[str]) -> list[str]:
    names = list(known)
    return [
        f"--start: no service {service!r}{did_you_mean(service, names)}"
        for service in services
        if service not in names
    ]
