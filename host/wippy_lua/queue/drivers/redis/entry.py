"""Messages as Redis keeps them: the fields of one stream entry.

Fields that begin with an underscore are ours; `script.lua` reads and writes all but `_meta`.

    body        as it was published
    _meta       MessagePack: format version, ID, content type, headers, date
    _attempts   attempts spent before this one, left out when 0
    _expires    Unix milliseconds of the server, left out when the message never expires
    _origin     the first entry ID of another program's message, once that has changed
    _priority   where a message goes back to that an operator has picked

Another program adds what it likes: a field `body` with others beside it, which become headers;
one field of any name; or several, which become a JSON object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Final, NamedTuple, TypeAlias

import msgspec

from wippy_lua.errors import Kind, WippyError
from wippy_lua.queue.codec import text_type
from wippy_lua.queue.driver import Seen
from wippy_lua.queue.message import JSON, RESERVED_PREFIX, Header, Message

FORMAT = 1
GROUP = "wippy"  #: the consumer group of every stream, as `script.lua` has it

#: What the script hands out: priority, entry ID, fields and their values in turn.
Item: TypeAlias = tuple[bytes, bytes, list[bytes]]


#: Bytes of bodies that are picked at a time, about: they come in one answer.
PICK_BYTES: Final = 4 * 1024 * 1024


class Place(NamedTuple):
    """Where a ready message is: its priority, and its entry there."""

    priority: bytes
    entry: bytes


class _Meta(msgspec.Struct, array_like=True, gc=False):
    """What a later format adds comes at the end, where this one does not look."""

    version: int
    id: str
    content_type: str
    headers: dict[str, Header]
    published_at: float


#: More are no count of attempts.
MAX_DIGITS = 9
_ENTRY_ID = re.compile(rb"\d{1,20}-\d{1,20}")

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Meta).decode


def encode_meta(message: Message) -> bytes:
    """Returns the `_meta` of a message; raises WippyError for headers that nothing could carry."""
    meta = FORMAT, message.id, message.content_type, message.headers, message.published_at
    try:
        return _encode(meta)
    except (TypeError, ValueError, OverflowError) as error:
        raise WippyError(f"the headers do not encode: {error}", kind=Kind.INVALID) from error


def decode_entry(entry: bytes, fields: list[bytes]) -> tuple[Message, int]:
    """Returns the message of a stream entry, and the attempts that were spent before."""
    found = dict(zip(fields[::2], fields[1::2], strict=True))
    meta = _read_meta(found.get(b"_meta"))
    spent = found.get(b"_attempts", b"0")
    attempts = int(spent) if spent.isdigit() and len(spent) <= MAX_DIGITS else 0
    if meta is None:
        return _foreign(entry, found), attempts
    body = found.get(b"body", b"")
    message = Message(meta.id, body, meta.content_type, meta.headers, meta.published_at)
    return message, attempts


def place_of(seen: Seen) -> Place:
    """Returns the place of a message that this driver has shown."""
    if not isinstance(seen.place, Place):
        raise TypeError(f"{seen.place!r} is no place in a Redis queue")
    return seen.place


def batches(seen: Sequence[Seen]) -> Iterator[Sequence[Seen]]:
    """Yields what was seen in portions whose bodies fit in one answer."""
    start = size = 0
    for end, each in enumerate(seen, start=1):
        size += len(each.message.body)
        if size >= PICK_BYTES or end == len(seen):
            yield seen[start:end]
            start, size = end, 0


def published_at(entry: bytes, meta: bytes) -> float:
    """Returns the date of a message by its `_meta`, or by its entry ID where that is empty."""
    known = _read_meta(meta)
    return entry_time(entry) if known is None else known.published_at


def entry_time(entry: bytes) -> float:
    """Returns the Unix time at which a stream entry was added."""
    return int(entry.partition(b"-")[0] or 0) / 1000


def _read_meta(packed: bytes | None) -> _Meta | None:
    if not packed:
        return None
    try:
        meta = _decode(packed)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None  # Whatever wrote it, its body is delivered.
    return meta if isfinite(meta.published_at) else None


def _foreign(entry: bytes, found: Mapping[bytes, bytes]) -> Message:
    origin = found.get(b"_origin", entry)
    if not _ENTRY_ID.fullmatch(origin):
        origin = entry  # the field is another program's own
    given = {key: value for key, value in found.items() if not key.startswith(b"_")}
    headers: dict[str, Header] = {}
    if b"body" in given:
        body = given.pop(b"body")
        content_type = _text(given.pop(b"content_type", b"")) or text_type(body)
        headers = {_text(key): _text(value) for key, value in given.items()}
        headers = {k: v for k, v in headers.items() if not k.startswith(RESERVED_PREFIX)}
    elif len(given) == 1:
        body = next(iter(given.values()))
        content_type = text_type(body)
    else:
        body = msgspec.json.encode({_text(key): _text(value) for key, value in given.items()})
        content_type = JSON
    return Message(origin.decode(), body, content_type, headers, entry_time(origin))


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
