"""`wippy-lua queue`: the queues of an app, seen and worked on."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from wippy_lua.cli.report import FAILED, OK, count
from wippy_lua.cli.tables import NOTHING, print_json, print_table
from wippy_lua.errors import Kind, WippyError
from wippy_lua.operations.choice import as_text
from wippy_lua.operations.contract import Operations
from wippy_lua.operations.values import Encoding, Publication, QueueStatus, StoredMessage
from wippy_lua.queue.message import Header

COLUMNS = ("queue", "driver", "depth", "ready", "in flight", "delayed", "oldest", "consumers")
NUMBERS = ("depth", "ready", "in flight", "delayed", "oldest", "consumers", "dead letters")
SHORT = 60  #: characters of a body or an error in a table


def list_queues(operations: Operations, *, as_json: bool) -> int:
    """Prints a line for each queue; fails when one could not be asked."""
    queues = operations.queues()
    if as_json:
        print_json(queues)
    elif not queues:
        click.echo("no queues", err=True)
    else:
        columns = (*COLUMNS, "dead letters", "state")
        print_table(columns, [cells(queue) for queue in queues], numbers=NUMBERS)
    return OK if queues and not any(queue.error for queue in queues) else FAILED


def info(operations: Operations, queue: str, *, as_json: bool) -> int:
    """Prints all that is known of a queue."""
    status = operations.queue(queue)
    if as_json:
        print_json(status)
    else:
        facts = {**msgspec.structs.asdict(status), "oldest_age": age(status.oldest_age)}
        rows = [(name.replace("_", " "), _fact(value)) for name, value in facts.items()]
        print_table(("", status.id), rows[1:])
    return FAILED if status.error else OK


def peek(operations: Operations, queue: str, limit: int, *, as_json: bool) -> int:
    """Prints the next messages; fails when there are none."""
    messages = operations.peek(queue, limit)
    if as_json:
        print_json(messages)
    elif messages:
        columns = ("id", "type", "size", "headers", "body")
        print_table(columns, [_message_cells(each) for each in messages], numbers=("size",))
    else:
        click.echo(f"nothing is ready in {queue}", err=True)
    return OK if messages else FAILED


def publish(operations: Operations, queue: str, publication: Publication, *, as_json: bool) -> int:
    """Publishes and prints the message's ID."""
    message_id = operations.publish(queue, publication)
    if as_json:
        print_json({"id": message_id})
    else:
        click.echo(message_id)
    return OK


def purge(operations: Operations, queue: str, *, yes: bool, as_json: bool) -> int:
    """Removes all messages that wait, after asking."""
    status = operations.queue(queue)
    if status.error is not None:
        raise WippyError(status.error, kind=Kind.UNAVAILABLE)
    waiting = (status.ready or 0) + (status.delayed or 0)
    if not yes and not confirmed(f"Remove {count(waiting, 'message')} from {queue}?"):
        return FAILED
    removed = operations.purge(queue)
    if as_json:
        print_json({"removed": removed})
    else:
        click.echo(f"removed {count(removed, 'message')} from {queue}")
    return OK


def pause(operations: Operations, queue: str, *, as_json: bool) -> int:
    """Lets the host's consumers of a queue take nothing more."""
    operations.pause(queue)
    return _say_paused(operations.queue(queue), as_json=as_json)


def resume(operations: Operations, queue: str, *, as_json: bool) -> int:
    """Lets the host's consumers of a queue take again."""
    operations.resume(queue)
    return _say_paused(operations.queue(queue), as_json=as_json)


def confirmed(question: str) -> bool:
    """Asks; raises WippyError of kind INVALID where nobody could answer."""
    if not sys.stdin.isatty():
        text = f"{question.rstrip('?')}: nobody is here to confirm that; say --yes"
        raise WippyError(text, kind=Kind.INVALID, retryable=False)
    return click.confirm(question)


def publication(data: str, *, text: bool, headers: Sequence[str], **options: Any) -> Publication:
    """Builds what DATA, @FILE or - stand for; raises WippyError of kind INVALID."""
    body, encoding = _body(_read(data), text=text)
    return Publication(body, encoding, header_values(headers), **options)


def header_values(pairs: Sequence[str]) -> dict[str, Header]:
    """Returns headers of "name=value": numbers and booleans as in JSON, else text."""
    return {name: _scalar(value) for name, value in split_pairs(pairs).items()}


def split_pairs(pairs: Sequence[str]) -> dict[str, str]:
    """Returns "name=value" by name; raises WippyError of kind INVALID."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise WippyError(f"{pair!r} is not of the form NAME=VALUE", kind=Kind.INVALID)
        found[name] = value
    return found


def cells(queue: QueueStatus) -> Sequence[str]:
    """Returns the row of a queue."""
    about = "~" if queue.approximate else ""
    counts = [queue.depth, queue.ready, queue.in_flight, queue.delayed]
    return (
        queue.id,
        queue.driver_kind.rpartition(".")[2],
        number(queue.depth, about),
        *(number(each) for each in counts[1:]),
        age(queue.oldest_age),
        number(queue.consumers),
        number(queue.dead_letters),
        state(queue),
    )


def state(queue: QueueStatus) -> str:
    """Returns what is out of the ordinary about a queue."""
    if queue.error is not None:
        return f"error: {queue.error}"
    return "paused" if queue.paused else ""


def number(value: int | None, prefix: str = "") -> str:
    return NOTHING if value is None else f"{prefix}{value}"


def age(seconds: float | None) -> str:
    """Returns seconds in the largest two units, such as "3h12m"."""
    if seconds is None:
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d{hours}h"
    return f"{hours}h{minutes}m" if hours else f"{minutes}m{rest}s"


def short(value: object, length: int = SHORT) -> str:
    """Returns a value in one short line."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"


def header_list(headers: Mapping[str, Header]) -> str:
    """Returns headers in one line."""
    return " ".join(f"{name}={as_text(value)}" for name, value in headers.items())


def _message_cells(message: StoredMessage) -> Sequence[str]:
    body = short(message.body)
    shown = f"base64:{body}" if message.encoding == "base64" else body
    headers = short(header_list(message.headers)) or NOTHING
    return message.id, message.content_type, str(message.size), headers, shown


def _say_paused(status: QueueStatus, *, as_json: bool) -> int:
    if as_json:
        print_json({"id": status.id, "paused": status.paused})
    else:
        click.echo(f"{status.id} is {'paused' if status.paused else 'not paused'}")
    return OK


def _fact(value: object) -> str:
    words = {None: NOTHING, True: "yes", False: "no"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def _read(data: str) -> bytes:
    if data == "-":
        return sys.stdin.buffer.read()
    if not data.startswith("@"):
        return data.encode(errors="surrogateescape")
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        text = f"cannot read {data[1:]}: {error.strerror}"
        raise WippyError(text, kind=Kind.INVALID, retryable=False) from error


def _body(given: bytes, *, text: bool) -> tuple[Any, Encoding]:
    if not text:
        try:
            return msgspec.json.decode(given), "json"
        except (msgspec.DecodeError, RecursionError):
            pass  # then it is what it is
    try:
        return given.decode(), "text"
    except UnicodeDecodeError:
        from base64 import b64encode

        return b64encode(given).decode(), "base64"


def _scalar(value: str) -> Header:
    try:
        scalar = msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value
    return scalar if isinstance(scalar, str | bool | int | float) else value
