"""The surface of what operators do: commands, their options, their help.

As in `commands.py`, nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from wippy_lua.cli.operating import Target
    from wippy_lua.cli.signals import Signals
    from wippy_lua.operations.contract import Operations
    from wippy_lua.operations.values import Publication, Selection

ADMIN_VARIABLE = "WIPPY_LUA_ADMIN"
TOKEN_VARIABLE = "WIPPY_LUA_ADMIN_TOKEN"  # noqa: S105 - its name, not its value

#: Options that say where a command works, as `_targeted` gathers them.
_PLACE = ("app", "overrides", "admin")


def _queues(ctx: click.Context, _option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from wippy_lua.cli.completion import queue_ids

    return queue_ids(Path(ctx.params.get("app") or ""), incomplete)


def _headers(_ctx: click.Context, option: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from wippy_lua.cli.completion import header_names

    return header_names(incomplete, of_letters=option.name == "match")


def _targeted(command: Callable[..., int]) -> Callable[..., None]:
    """Gives a command its `target` and exits with the status that it returns."""

    @click.option(
        "--app",
        type=click.Path(path_type=Path),
        default=".",
        is_eager=True,
        help="The app: a folder, its _index.yaml or its main.lua (default: this folder).",
    )
    @click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="NS:NAME.FIELD=VALUE",
        help="Override a field of an entry. Repeatable.",
    )
    @click.option(
        "--admin",
        metavar="HOST:PORT",
        envvar=ADMIN_VARIABLE,
        help=f"Ask a running host (run --admin) instead of the brokers [env: {ADMIN_VARIABLE}];"
        f" its token is in {TOKEN_VARIABLE}.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @wraps(command)
    def wrapper(*arguments: Any, **options: Any) -> None:
        import os

        from wippy_lua.cli.operating import Target

        path, overrides, admin = (options.pop(name) for name in _PLACE)
        target = Target(path, overrides, admin or None, os.environ.get(TOKEN_VARIABLE))
        sys.exit(command(*arguments, target=target, **options))

    return wrapper


def _operate(target: Target, work: Callable[[Operations], int]) -> int:
    from wippy_lua.cli.operating import operate

    return operate(target, work)


_queue = click.argument("queue", metavar="QUEUE", shell_complete=_queues)
_yes = click.option("--yes", is_flag=True, help="Don't ask.")
_dry_run = click.option("--dry-run", is_flag=True, help="Count, and leave all as it is.")


def _limit(default: int | None, text: str) -> Callable[[Any], Any]:
    return click.option("--limit", type=click.IntRange(min=1), default=default, help=text)


_match = click.option(
    "--match",
    multiple=True,
    metavar="HEADER=VALUE",
    shell_complete=_headers,
    help="Only letters with this header, x_error_kind and the like included. Repeatable.",
)


@click.group()
def queue() -> None:
    """See the queues of an app, and work on them.

    Directly on the app's brokers, where queues are declared as a host would; on a running host with
    --admin. Exit status: 0, 1 when nothing was found or something failed, 2 when it cannot be
    done so.
    """


@queue.command("ls")
@_targeted
def queue_ls(target: Target, as_json: bool) -> int:
    """List the queues with their counts.

    The age is that of the oldest message. "~" is a guess of the broker, "-" what it cannot tell.
    """
    from wippy_lua.cli import queues

    return _operate(target, lambda ops: queues.list_queues(ops, as_json=as_json))


@queue.command("info")
@_queue
@_targeted
def queue_info(target: Target, queue: str, as_json: bool) -> int:
    """Show all that is known of a queue."""
    from wippy_lua.cli import queues

    return _operate(target, lambda ops: queues.info(ops, queue, as_json=as_json))


@queue.command("peek")
@_queue
@_limit(10, "Messages at most, up to 1000 (default: 10).")
@_targeted
def queue_peek(target: Target, queue: str, limit: int, as_json: bool) -> int:
    """Show the next messages and change nothing.

    RabbitMQ and SQS cannot: there a message is only seen by whom it is delivered to.
    """
    from wippy_lua.cli import queues

    return _operate(target, lambda ops: queues.peek(ops, queue, limit, as_json=as_json))


def _publishing(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--id", "message_id", metavar="ID", help="The message's ID."),
        click.option("--ttl", metavar="DURATION", help="Drop it after so long, such as 1h."),
        click.option("--delay", metavar="DURATION", default="0", help="Deliver it after so long."),
        click.option(
            "--header",
            "headers",
            multiple=True,
            metavar="NAME=VALUE",
            shell_complete=_headers,
            help='A header; numbers, booleans and "text" as in JSON, else text. Repeatable.',
        ),
        click.option("--text", is_flag=True, help="Take DATA for a string though it is JSON."),
        click.argument("data", metavar="DATA|@FILE|-"),
        _queue,
    ):
        command = option(command)
    return command


def _publish(
    target: Target,
    queue: str,
    data: str,
    text: bool,
    headers: tuple[str, ...],
    delay: str,
    ttl: str | None,
    message_id: str | None,
    as_json: bool,
) -> int:
    """Publish DATA: JSON, else a string; @FILE is read, - is standard input. Prints its ID."""
    from wippy_lua.cli import queues

    def work(operations: Operations) -> int:
        given: Publication = queues.publication(
            data, text=text, headers=headers, delay=delay, ttl=ttl, id=message_id
        )
        return queues.publish(operations, queue, given, as_json=as_json)

    return _operate(target, work)


queue.command("publish")(_publishing(_targeted(_publish)))
publish = click.command("publish")(_publishing(_targeted(_publish)))


@queue.command("purge")
@_queue
@_yes
@_targeted
def queue_purge(target: Target, queue: str, yes: bool, as_json: bool) -> int:
    """Remove all messages that wait; what is in flight stays."""
    from wippy_lua.cli import queues

    return _operate(target, lambda ops: queues.purge(ops, queue, yes=yes, as_json=as_json))


@queue.command("pause")
@_queue
@_targeted
def queue_pause(target: Target, queue: str, as_json: bool) -> int:
    """Let a running host's consumers of QUEUE take nothing more. Needs --admin."""
    from wippy_lua.cli import queues

    return _operate(target, lambda ops: queues.pause(ops, queue, as_json=as_json))


@queue.command("resume")
@_queue
@_targeted
def queue_resume(target: Target, queue: str, as_json: bool) -> int:
    """Let a running host's consumers of QUEUE take again. Needs --admin."""
    from wippy_lua.cli import queues

    return _operate(target, lambda ops: queues.resume(ops, queue, as_json=as_json))


@click.group()
def dlq() -> None:
    """See dead letters, and repair them.

    QUEUE is a dead-letter queue, or one whose letters go there and then means only its own. On
    RabbitMQ and SQS letters are taken to be looked at, and given back: they may change their
    order. Exit status: 0, 1 when nothing was found or something failed, 2 when it cannot be done.
    """


@dlq.command("ls")
@click.argument("queue", metavar="[QUEUE]", required=False, shell_complete=_queues)
@_match
@_limit(100, "Letters at most, up to 1000 (default: 100).")
@_targeted
def dlq_ls(
    target: Target, queue: str | None, match: tuple[str, ...], limit: int, as_json: bool
) -> int:
    """List the dead-letter queues with their counts, or the letters of one."""
    from wippy_lua.cli import dead_letters

    if queue is None:
        return _operate(target, lambda ops: dead_letters.list_holders(ops, as_json=as_json))

    def work(operations: Operations) -> int:
        selection = _selection(match, (), limit)
        return dead_letters.list_letters(operations, queue, selection, as_json=as_json)

    return _operate(target, work)


@dlq.command("show")
@_queue
@click.argument("message_id", metavar="[ID]", required=False)
@_match
@_limit(10, "Letters at most, up to 1000 (default: 10).")
@_targeted
def dlq_show(
    target: Target,
    queue: str,
    message_id: str | None,
    match: tuple[str, ...],
    limit: int,
    as_json: bool,
) -> int:
    """Show letters, or that with an ID: body, headers, error, stack, attempts."""
    from wippy_lua.cli import dead_letters

    def work(operations: Operations) -> int:
        ids = () if message_id is None else (message_id,)
        selection = _selection(match, ids, limit)
        return dead_letters.show(operations, queue, selection, as_json=as_json)

    return _operate(target, work)


@dlq.command("replay")
@_queue
@click.argument("ids", metavar="[ID]...", nargs=-1)
@_match
@_limit(None, "Letters at most (default: all).")
@click.option("--rate", type=float, metavar="N", help="At most N letters a second.")
@_dry_run
@_targeted
@click.pass_context
def dlq_replay(
    ctx: click.Context,
    target: Target,
    queue: str,
    ids: tuple[str, ...],
    match: tuple[str, ...],
    limit: int | None,
    rate: float | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Send letters back to the queues that they come from, as they were published.

    Each is moved by itself: when this is interrupted or killed, none is lost and at most one is
    there twice. A letter whose queue the app does not have stays, and the status is 1.
    """
    from wippy_lua.cli import dead_letters

    signals: Signals = ctx.obj

    def work(operations: Operations) -> int:
        return dead_letters.replay(
            operations,
            queue,
            _selection(match, ids, limit),
            signals,
            rate=rate,
            dry_run=dry_run,
            as_json=as_json,
        )

    return _operate(target, work)


@dlq.command("drop")
@_queue
@click.argument("ids", metavar="[ID]...", nargs=-1)
@_match
@_limit(None, "Letters at most (default: all).")
@_yes
@_dry_run
@_targeted
@click.pass_context
def dlq_drop(
    ctx: click.Context,
    target: Target,
    queue: str,
    ids: tuple[str, ...],
    match: tuple[str, ...],
    limit: int | None,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Remove letters for good."""
    from wippy_lua.cli import dead_letters

    signals: Signals = ctx.obj

    def work(operations: Operations) -> int:
        return dead_letters.drop(
            operations,
            queue,
            _selection(match, ids, limit),
            signals,
            yes=yes,
            dry_run=dry_run,
            as_json=as_json,
        )

    return _operate(target, work)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes this command in SHELL.

    In ~/.bashrc: eval "$(wippy-lua completion bash)"; zsh likewise in ~/.zshrc; in fish:
    wippy-lua completion fish | source
    """
    from wippy_lua.cli.completion import script

    click.echo(script(click.get_current_context().find_root().command, shell))


def _selection(match: tuple[str, ...], ids: tuple[str, ...], limit: int | None) -> Selection:
    from wippy_lua.cli.queues import split_pairs
    from wippy_lua.operations.values import Selection

    return Selection(split_pairs(match), ids, limit)
