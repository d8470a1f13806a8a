"""The surface of the command line: commands, their options, their help.

Nothing heavy is imported before a command needs it: `--help` and `--version` answer at once.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from wippy_lua import __version__
from wippy_lua.cli import operators

if TYPE_CHECKING:
    from wippy_lua.admin.address import Address
    from wippy_lua.cli.signals import Signals

ARGUMENTS = "wippy_lua.arguments"  #: where a context keeps what follows `--`

_app_path = click.argument("path", default=".", type=click.Path(path_type=Path))
_overrides = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="NS:NAME.FIELD=VALUE",
    help="Override a field of an entry. Repeatable.",
)


def _known_kind(_ctx: click.Context, _option: click.Parameter, kind: str) -> str:
    from wippy_lua.registry.entry import is_of_kind
    from wippy_lua.registry.kinds import KINDS
    from wippy_lua.registry.suggest import did_you_mean

    if not any(is_of_kind(known, kind) for known in KINDS):
        raise click.BadParameter(f"no kind {kind!r}{did_you_mean(kind, KINDS)}")
    return kind


def _address(_ctx: click.Context, _option: click.Parameter, text: str | None) -> Address | None:
    if text is None:
        return None
    from wippy_lua.admin.address import Address

    try:
        return Address.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


class RunCommand(click.Command):
    """Keeps what follows `--` for main.lua: click would take the first of it for PATH."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[ARGUMENTS] = tuple(args[end + 1 :])
        return super().parse_args(ctx, args[:end])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- ARGS...]"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="wippy-lua", message="%(prog)s %(version)s")
def cli() -> None:
    """Run message queue handlers and publishers written in Lua."""


@cli.command(cls=RunCommand)
@_app_path
@click.option(
    "--start",
    "services",
    multiple=True,
    metavar="ID",
    help="Start a service that has no auto_start. Repeatable.",
)
@click.option("--drain", is_flag=True, help="Exit once every consumed queue is empty and idle.")
@_overrides
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warn", "error"]),
    help="Log from this level on (default: the app's log_level, else info).",
)
@click.option(
    "--log-format",
    type=click.Choice(["console", "json"]),
    default="console",
    help="Write the log for people, or one JSON object per line.",
)
@click.option(
    "--admin",
    metavar="HOST:PORT",
    callback=_address,
    help="Serve health, metrics and an operator's verbs there. Port 0 is one that is free.",
)
@click.option(
    "--admin-token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with the token of the admin server (default: $WIPPY_LUA_ADMIN_TOKEN).",
)
@click.pass_context
def run(
    ctx: click.Context,
    path: Path,
    services: tuple[str, ...],
    drain: bool,
    overrides: tuple[str, ...],
    log_level: str | None,
    log_format: Literal["console", "json"],
    admin: Address | None,
    admin_token_file: Path | None,
) -> None:
    """Run the app at PATH: a folder, its _index.yaml or its main.lua.

    Starts what has auto_start, runs main.lua with ARGS, then serves while consumers or processes
    run. SIGINT or SIGTERM stops with care, a second one exits at once.

    The exit status is what main.lua returned: 0 for nil or true, an integer as it is, 1 for false
    or an error; other than 0, it ends the run. 1 too when something could not start or had to be
    interrupted, 2 when something is wrong with the app.
    """
    from wippy_lua.cli import run as command

    signals: Signals = ctx.obj
    status = command.run(
        path,
        services=services,
        arguments=ctx.meta[ARGUMENTS],
        overrides=overrides,
        drain=drain,
        log_level=log_level,
        log_format=log_format,
        admin=admin,
        admin_token_file=admin_token_file,
        signals=signals,
    )
    sys.exit(status)


@cli.command()
@_app_path
@_overrides
@click.option(
    "--module",
    "modules",
    multiple=True,
    metavar="NAME",
    help="A Lua module that the program which embeds the app makes of Python functions.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(path: Path, overrides: tuple[str, ...], modules: tuple[str, ...], as_json: bool) -> None:
    """Load the app at PATH, Lua included, and report every problem. Starts nothing.

    The exit status is 0 when there are no errors, else 2.
    """
    from wippy_lua.cli import check as command

    sys.exit(command.check(path, overrides=overrides, modules=modules, as_json=as_json))


def _seconds(_ctx: click.Context, _option: click.Parameter, timeout: str) -> float:
    from wippy_lua.units import parse_duration

    try:
        seconds = parse_duration(timeout)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if seconds == 0:
        raise click.BadParameter("must be over 0")
    return seconds


@cli.command()
@_app_path
@click.option(
    "-k",
    "--filter",
    "pattern",
    metavar="TEXT",
    help="Only tests with this in their ID or suite; it may have * and ?.",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 1000),
    default=4,
    show_default=True,
    help="How many tests run at a time.",
)
@click.option(
    "--timeout",
    default="30s",
    show_default=True,
    metavar="DURATION",
    callback=_seconds,
    help="For each test that has no limits.timeout of its own.",
)
@_overrides
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--junit",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write JUnit XML as well.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show the logs of tests that passed, too.")
@click.pass_context
def test(
    ctx: click.Context,
    path: Path,
    pattern: str | None,
    jobs: int,
    timeout: float,
    overrides: tuple[str, ...],
    as_json: bool,
    junit: Path | None,
    verbose: bool,
) -> None:
    """Call the functions of the app at PATH that are tests: `meta: {type: test, suite: ...}`.

    A test fails as a handler does. Memory stands in for every driver, consumers with auto_start
    run; main.lua and processes do not.

    The exit status is 0 when all passed, 1 when one failed or there is none, 2 when something is
    wrong with the app.
    """
    from wippy_lua.cli.testing import command

    status = command.test(
        path,
        pattern=pattern,
        jobs=jobs,
        timeout=timeout,
        overrides=overrides,
        as_json=as_json,
        junit=junit,
        verbose=verbose,
        signals=ctx.obj,
    )
    sys.exit(status)


@cli.command("list")
@_app_path
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
@click.option(
    "--kind",
    default="",
    metavar="K",
    callback=_known_kind,
    help="Only this kind and those below it, such as queue.driver.",
)
def list_command(path: Path, as_json: bool, kind: str) -> None:
    """List the entries of the app at PATH."""
    from wippy_lua.cli import entries

    sys.exit(entries.list_entries(path, kind=kind, as_json=as_json))


@cli.command()
def schema() -> None:
    """Print the JSON Schema of _index.yaml, for editors."""
    from wippy_lua.registry.schema import schema_text

    click.echo(schema_text(), nl=False)


@cli.command()
@click.argument("folder", default=".", type=click.Path(path_type=Path, file_okay=False))
def init(folder: Path) -> None:
    """Write a small app into FOLDER to begin with. Overwrites nothing."""
    from wippy_lua.cli import scaffolding

    sys.exit(scaffolding.init(folder))


for _command in (operators.queue, operators.dlq, operators.publish, operators.completion):
    cli.add_command(_command)
