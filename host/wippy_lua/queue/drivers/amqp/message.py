"""Messages as RabbitMQ carries them: our headers in AMQP's properties, and back.

A property that AMQP has is used for what it means; everything else travels in the headers table
under its own name, types kept. What the driver itself has to remember of a message are table
entries that begin with `x_amqp_`. The property `app_id` tells our messages, and the version of
this format, from those of other programs.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from math import isfinite
from struct import Struct, unpack
from typing import Any, Final
from uuid import uuid4

from wippy_lua.errors import Kind, WippyError
from wippy_lua.queue.drivers.amqp.wire import (
    FRAME_OVERHEAD,
    MAX_SHORT,
    Properties,
    Raw,
    content_header,
    content_start,
    encode_table,
    flags_of,
    short,
)
from wippy_lua.queue.message import BINARY, Header, Message

APP_ID: Final = "wippy-lua/1"
APP: Final = "wippy-lua/"
PERSISTENT: Final = 2

OWN: Final = "x_amqp_"
ATTEMPTS: Final = "x_amqp_attempts"  #: of earlier copies of this message
PUBLISHED: Final = "x_amqp_published_at"  #: Unix time with its fraction; `timestamp` has none
EXPIRES: Final = "x_amqp_expires_at"  #: Unix time; `expiration` begins anew with each copy

#: Headers with a property of their own, when they are strings that fit.
_PROPERTY_OF: Final = {
    "correlation_id": "correlation_id",
    "reply_to": "reply_to",
    "message_type": "type",
    "encoding": "content_encoding",
}
#: What RabbitMQ writes into the table when it counts or dead-letters.
_BROKERS: Final = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-")
#: RabbitMQ takes these for more addresses of the message, and closes the channel when they are not
#: a list; so ours travel under another name.
_ADDRESSES: Final = ("CC", "BCC")
_ADDRESS_PREFIX: Final = "x_amqp_header_"
#: A name that the broker replaces, and refuses to a publisher that does not consume from it.
_DIRECT_REPLY: Final = "amq.rabbitmq.reply-to"


#: What stands between the properties of a message that has no headers.
_PLAIN_FLAGS: Final = flags_of(
    "content_type", "headers", "delivery_mode", "message_id", "timestamp", "app_id"
)
_PLAIN_TABLE: Final = encode_table({PUBLISHED: 0.0})[:-8]
_PLAIN_DATE: Final = Struct(">dB")  #: the value in the table, and the delivery mode
_PLAIN_END: Final = Struct(f">Q{len(APP_ID) + 1}s")  #: `timestamp` and `app_id`
_APP: Final = short(APP_ID)


def first_header(
    message: Message, expires: float | None, expiration: str | None, max_frame: int
) -> bytes:
    """Returns the content header's payload of a first copy, as `encode_header` does.

    `expires` is Unix time, `expiration` in how many milliseconds the broker itself drops it.
    """
    if expires is None and not message.headers:
        return _plain_header(message)
    properties = to_properties(message, expires)
    properties.expiration = expiration
    return encode_header(properties, len(message.body), max_frame)


def _plain_header(message: Message) -> bytes:
    """Returns what `encode_header` makes of most messages, for a fifth of its time."""
    published = message.published_at
    try:
        return b"".join(
            (
                content_start(len(message.body), _PLAIN_FLAGS),
                short(message.content_type),
                _PLAIN_TABLE,
                _PLAIN_DATE.pack(published, PERSISTENT),
                short(message.id),
                _PLAIN_END.pack(max(int(published), 0), _APP),
            )
        )
    except ValueError as error:
        raise _invalid(str(error)) from error


def to_properties(message: Message, expires: float | None) -> Properties:
    """Returns the properties of a first copy; `expires` is Unix time."""
    properties = Properties(
        content_type=message.content_type,
        delivery_mode=PERSISTENT,
        message_id=message.id,
        timestamp=max(int(message.published_at), 0),
        app_id=APP_ID,
    )
    table: dict[str, Any] = {PUBLISHED: float(message.published_at)}
    for key, value in message.headers.items():
        _put_header(properties, table, key, value)
    if expires is not None:
        table[EXPIRES] = expires
    properties.headers = table
    return properties


def _put_header(properties: Properties, table: dict[str, Any], key: str, value: Header) -> None:
    if key in _PROPERTY_OF:
        if type(value) is str and len(value.encode()) <= MAX_SHORT and value != _DIRECT_REPLY:
            setattr(properties, _PROPERTY_OF[key], value)
            return
    elif key == "priority":
        if type(value) is int and 0 <= value <= 9:
            properties.priority = value
            return
    elif key in _ADDRESSES:
        key = _ADDRESS_PREFIX + key
    table[key] = value


def copy_properties(
    properties: Properties, message: Message, attempts: int, expires: float | None
) -> Properties:
    """Returns the properties of a later copy of the same message, whoever published the first."""
    table = {
        key: value
        for key, value in (properties.headers or {}).items()
        if not key.startswith(_BROKERS) and key not in _ADDRESSES
    }
    table[ATTEMPTS] = attempts
    if expires is not None:
        table[EXPIRES] = expires
    return Properties(
        content_type=properties.content_type,
        content_encoding=properties.content_encoding,
        headers=table,
        delivery_mode=PERSISTENT,
        priority=properties.priority,
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to if properties.reply_to != _DIRECT_REPLY else None,
        message_id=message.id,
        timestamp=properties.timestamp,
        type=properties.type,
        app_id=properties.app_id,
    )


def encode_header(properties: Properties, body_size: int, max_frame: int) -> bytes:
    """Returns the content header's payload; raises WippyError of kind INVALID if it cannot be."""
    try:
        payload = content_header(body_size, properties)
    except ValueError as error:
        raise _invalid(str(error)) from error
    if len(payload) + FRAME_OVERHEAD > max_frame:
        # More would end the connection, and that of everybody who shares it.
        raise _invalid(f"headers take {len(payload)} bytes, and one frame holds {max_frame}")
    return payload


def to_message(properties: Properties, body: bytes) -> Message:
    """Returns a delivered message, of ours or of another program."""
    table = properties.headers or {}
    headers: dict[str, Header] = {}
    if not (properties.app_id or "").startswith(APP) and properties.content_type is not None:
        headers["content_type"] = properties.content_type
    for key, name in _PROPERTY_OF.items():
        value = getattr(properties, name)
        if value is not None:
            headers[key] = value
    if properties.priority is not None:
        headers["priority"] = properties.priority
    for key, value in table.items():
        if not key.startswith((OWN, *_BROKERS)):
            _take_header(headers, key, value)
        elif key.startswith(_ADDRESS_PREFIX):
            headers[key.removeprefix(_ADDRESS_PREFIX)] = value
    published = _date(table, PUBLISHED)
    return Message(
        # A message without an ID gets one that the copies of it keep.
        id=properties.message_id or uuid4().hex,
        body=body,
        content_type=BINARY if properties.content_type is None else properties.content_type,
        headers=headers,
        published_at=float(properties.timestamp or 0) if published is None else published,
    )


def attempt_of(properties: Properties, redelivered: bool) -> int:
    """Returns which attempt a delivery is: those of earlier copies, and of this one.

    Quorum queues count their deliveries; a classic one only says that there was one before.
    """
    table = properties.headers or {}
    counted = max(_count(table, "x-delivery-count"), _count(table, "x-acquired-count"))
    return _count(table, ATTEMPTS) + max(counted, int(redelivered)) + 1


def expiry_of(properties: Properties, now: float) -> float | None:
    """Returns the Unix time at which a message expires.

    For what another program published it begins anew here: nothing says when that was.
    """
    expires = _date(properties.headers or {}, EXPIRES)
    if expires is not None:
        return expires
    text = properties.expiration
    return now + int(text) / 1000 if text is not None and text.isdecimal() else None


def _date(table: Mapping[str, Any], key: str) -> float | None:
    """Returns a Unix time that a driver has written, if it is one."""
    value = table.get(key)
    return value if type(value) is float and isfinite(value) else None


def _count(table: Mapping[str, Any], key: str) -> int:
    value = table.get(key, 0)
    return value if type(value) is int and value > 0 else 0


def _take_header(headers: dict[str, Header], key: str, value: object) -> None:
    """Adds a table's value; lists, tables and nothing have no counterpart and are left out."""
    if isinstance(value, Raw):
        plain = _plain(value)
        if plain is None:
            return
        headers[key] = plain
    elif isinstance(value, str | bool | int | float):
        headers[key] = value


def _plain(raw: Raw) -> Header | None:
    match chr(raw.letter):
        case "T":  # seconds since 1970
            return int(unpack(">Q", raw.data)[0])
        case "D":
            scale, digits = unpack(">Bi", raw.data)
            return float(Decimal(digits).scaleb(-scale))
        case "x" | "S":
            return raw.data[4:].decode(errors="backslashreplace")
        case _:
            return None


def _invalid(problem: str) -> WippyError:
    return WippyError(
        f"AMQP cannot carry the message: {problem}", kind=Kind.INVALID, retryable=False
    )
