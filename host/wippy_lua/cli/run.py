"""`wippy-lua run`: load an app, start it, run its main.lua, serve."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wippy_lua.cli.admin import admin_server
from wippy_lua.cli.report import FAILED, INVALID, Notes, problem_report
from wippy_lua.cli.session import Session
from wippy_lua.cli.signals import Signals
from wippy_lua.cli.startup import import_structlog
from wippy_lua.errors import ConfigError, WippyError
from wippy_lua.host import Host
from wippy_lua.log import Format, make_log
from wippy_lua.registry.suggest import did_you_mean

if TYPE_CHECKING:
    from wippy_lua.admin.address import Address
    from wippy_lua.admin.server import AdminServer


def run(
    path: Path,
    *,
    services: Sequence[str],
    arguments: Sequence[str],
    overrides: Sequence[str],
    drain: bool,
    log_level: str | None,
    log_format: Format,
    admin: Address | None,
    admin_token_file: Path | None,
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
    try:
        server = None if admin is None else admin_server(host, admin, admin_token_file)
    except ValueError as error:
        click.echo(f"error: {error}", err=True)
        return INVALID
    notes = Notes(log_format)
    session = Session(host, notes)
    signals.stop_with(session.interrupt, notes)
    with ExitStack() as ending:
        if server is not None and not _serve(server, ending, notes):
            return FAILED
        return session.run(services, arguments, drain=drain)


def _serve(server: AdminServer, ending: ExitStack, notes: Notes) -> bool:
    """Starts the admin server, before anything else: it tells of the start, too."""
    try:
        ending.enter_context(server)
    except WippyError as error:
        notes.error(f"admin server: {error.message}")
        return False
    notes.info(f"admin server at {server.address.url}")
    return True


def _unknown(services: Iterable[str], known: Iterable[str]) -> list[str]:
    names = list(known)
    return [
        f"--start: no service {service!r}{did_you_mean(service, names)}"
        for service in services
        if service not in names
    ]
