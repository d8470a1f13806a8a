"""Messages as rows of the SQLite driver, and back."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from functools import cache
from math import inf
from typing import Final, NamedTuple, TypeAlias

import msgspec

from wippy_lua.errors import Kind, WippyError
from wippy_lua.queue.driver import Seen
from wippy_lua.queue.message import Header, Message, header_number, priority_of

#: Message ID, content type, headers and body.
Content: TypeAlias = tuple[str, str, bytes | None, bytes]

#: Rows that one statement inserts at most: starting one costs as much as two rows.
_MOST_ROWS: Final = 64

#: Bytes of bodies beyond which each gets a statement of its own: SQLite copies what one holds.
_MOST_BYTES: Final = 1 << 20

_NO_HEADERS: Mapping[str, Header] = {}
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Row(NamedTuple):
    """A message ready to be inserted."""

    priority: int
    content: Content
    message: Message


class Placing(NamedTuple):
    """Where rows begin: in which queue and state, from and until when, claimed by whom.

    In the order of the parameters of `_messages_statement`.
    """

    queue: int
    state: int
    due: float | None = None
    expires: float | None = None
    attempt: int = 0
    claim: int | None = None
    lease: int | None = None


class Spot(NamedTuple):
    """Where a ready message is in the order of delivery, and which one it is."""

    priority: float
    position: int
    id: int


#: A place that comes before that of any message.
BEFORE_ALL: Final = Spot(inf, 0, 0)


def spot_of(seen: Seen) -> Spot:
    """Returns the place of a message that this driver has shown."""
    if not isinstance(seen.place, Spot):
        raise TypeError(f"{seen.place!r} is no place in an SQLite queue")
    return seen.place


class Found(NamedTuple):
    """A message that was claimed."""

    id: int
    claim: int
    attempt: int
    message: Message


def row_of(message: Message) -> Row:
    """Returns a message's row; raises WippyError of kind INVALID for text that is not Unicode."""
    headers = message.headers
    try:
        packed = _encode(headers) if headers else None
        if not (message.id.isascii() and message.content_type.isascii()):
            (message.id + message.content_type).encode()
    except (UnicodeEncodeError, OverflowError, TypeError) as error:
        raise WippyError(
            f"message {message.id!a} cannot be stored: {error}", kind=Kind.INVALID, retryable=False
        ) from error
    return Row(
        priority_of(message) if headers else 0,
        (message.id, message.content_type, packed, message.body),
        message,
    )


def insert_rows(
    db: sqlite3.Connection, numbered: Sequence[tuple[int, Row]], placing: Placing
) -> None:
    """Inserts messages and their contents under their numbers."""
    at = 0
    while at < len(numbered):
        # Powers of two: these few statements stay prepared, whatever the sizes of groups.
        count = min(1 << (len(numbered) - at).bit_length() - 1, _MOST_ROWS)
        part = numbered[at : at + count]
        if count > 1 and sum([len(row.message.body) for _, row in part]) > _MOST_BYTES:
            count, part = 1, part[:1]
        facts: list[object] = [*placing]
        contents: list[object] = []
        for n, (priority, content, message) in part:
            facts += (n, priority, message.published_at)
            contents.append(n)
            contents += content
        db.execute(_messages_statement(count), facts)
        db.execute(_contents_statement(count), contents)
        at += count


@cache
def _messages_statement(count: int) -> str:
    first = len(Placing._fields) + 1
    rows = (
        f"(?{n}, ?{n + 1}, ?{n}, ?{n + 2}, ?1, ?2, ?3, ?4, ?5, ?6, ?7)"
        for n in range(first, first + 3 * count, 3)
    )
    columns = (
        "id, priority, position, published_at, queue, state, due, expires, attempt, claim, lease"
    )
    return f"INSERT INTO messages ({columns}) VALUES {', '.join(rows)}"  # noqa: S608 - constant


@cache
def _contents_statement(count: int) -> str:
    return "INSERT INTO contents VALUES " + ", ".join(["(?, ?, ?, ?, ?)"] * count)  # noqa: S608 - constant


def message_of(
    published_at: float,
    message_id: str,
    content_type: str,
    headers: bytes | str | None,
    body: bytes,
) -> Message:
    """Returns the message of a row."""
    return Message(message_id, body, content_type, _headers_of(headers), published_at)


def _headers_of(stored: bytes | str | None) -> Mapping[str, Header]:
    if stored is None:
        return _NO_HEADERS
    if isinstance(stored, bytes):
        unpacked: Mapping[str, Header] = _decode(stored)
        return unpacked
    # JSON came through the view `inbox`, so it is an object; of what is nested we carry nothing,
    # nor of what only SQLite takes for JSON.
    try:
        given: Mapping[str, object] = msgspec.json.decode(stored)
    except (msgspec.DecodeError, RecursionError):
        return _NO_HEADERS
    return {
        key: header_number(value) if type(value) is int else value
        for key, value in given.items()
        if isinstance(value, str | bool | int | float)
    }
