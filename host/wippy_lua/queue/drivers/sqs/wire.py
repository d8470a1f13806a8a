"""How a message looks on SQS, and back: pure.

SQS carries a text and up to ten attributes. The body is the text, so that other programs can read
it. What is ours (ID, date, content type, headers with their types) is JSON in one attribute, with
the version of this format; SQS has no field of its own for any of it.

A message without that attribute was put there by another program: its attributes become headers.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, Final, Literal

import msgspec

from wippy_lua.queue.message import TEXT, Header, Message, header_number

VERSION: Final = 1
ATTRIBUTE: Final = "wippy"

#: Headers that mean something to a FIFO queue.
GROUP_HEADER: Final = "sqs.message_group_id"
DEDUPLICATION_HEADER: Final = "sqs.message_deduplication_id"

#: What SQS refuses in a body. Such a body travels as base64.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

#: SQS has no empty body; this one stands for it.
_PLACEHOLDER: Final = "-"

#: As SQS gives a message to a receiver.
Raw = Mapping[str, Any]


class NewerFormatError(ValueError):
    """The message was stored by a later version of the host, which will know what to do with it."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A message with what has to outlive its copies; times are Unix seconds.

    `spent` attempts were made on earlier copies. `due` is when it may be delivered, where the
    broker cannot wait for so long by itself.
    """

    message: Message
    spent: int = 0
    expires: float = inf
    due: float = 0.0


class Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """Our attribute, field by field."""

    v: int
    id: str
    at: float
    type: str
    headers: Mapping[str, Header] = {}
    encoding: Literal["", "base64", "empty"] = ""
    spent: int = 0
    expires: float | None = None
    due: float = 0.0


def write(stored: Stored) -> tuple[str, dict[str, Any]]:
    """Returns the body and the attributes of a message."""
    message = stored.message
    text, encoding = _write_body(message.body)
    envelope = Envelope(
        v=VERSION,
        id=message.id,
        at=message.published_at,
        type=message.content_type,
        headers=message.headers,
        encoding=encoding,
        spent=stored.spent,
        expires=None if stored.expires == inf else stored.expires,
        due=stored.due,
    )
    # The standard library's JSON: it is ASCII, all of which SQS takes, and keeps NaN and infinity.
    value = json.dumps(msgspec.to_builtins(envelope), separators=(",", ":"))
    return text, {ATTRIBUTE: {"DataType": "String", "StringValue": value}}


def size_of(text: str, attributes: Mapping[str, Any]) -> int:
    """Returns the bytes that count towards the broker's limit."""
    size = len(text.encode())
    for name, attribute in attributes.items():
        size += len(name) + len(attribute["DataType"]) + len(attribute["StringValue"])
    return size


def read(raw: Raw) -> Stored:
    """Returns what was stored; raises NewerFormatError for what only a later version can read."""
    attributes: Mapping[str, Any] = raw.get("MessageAttributes", {})
    envelope = _envelope(attributes.get(ATTRIBUTE, {}).get("StringValue", ""))
    if envelope is None:
        return Stored(_foreign(raw, attributes))
    message = Message(
        id=envelope.id,
        body=_read_body(raw["Body"], envelope.encoding),
        content_type=envelope.type,
        headers=envelope.headers,
        published_at=envelope.at,
    )
    expires = inf if envelope.expires is None else envelope.expires
    return Stored(message, envelope.spent, expires, envelope.due)


def receive_count(raw: Raw) -> int:
    """Returns how often the broker has handed out this copy."""
    return int(raw.get("Attributes", {}).get("ApproximateReceiveCount", 1))


def _write_body(body: bytes) -> tuple[str, Literal["", "base64", "empty"]]:
    if not body:
        return _PLACEHOLDER, "empty"
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return b64encode(body).decode(), "base64"
    if _FORBIDDEN.search(text):
        return b64encode(body).decode(), "base64"
    return text, ""


def _read_body(text: str, encoding: str) -> bytes:
    if encoding == "empty":
        return b""
    if encoding == "base64":
        try:
            return b64decode(text, validate=True)
        except ValueError:
            return text.encode()  # Somebody has changed it; a handler can tell, and nobody here.
    return text.encode()


def _envelope(value: str) -> Envelope | None:
    """Returns our attribute; None when there is none, or one of that name that is not ours."""
    try:
        plain = json.loads(value)
    except (ValueError, RecursionError):
        return None
    version = plain.get("v") if isinstance(plain, dict) else None
    if type(version) is int and version > VERSION:
        raise NewerFormatError(f"format version {version} is not known")
    try:
        envelope = msgspec.convert(plain, Envelope)
        msgspec.msgpack.encode(envelope)  # refuses half characters and endless integers
    except (msgspec.ValidationError, UnicodeEncodeError, OverflowError):
        return None
    return envelope if isfinite(envelope.at) and envelope.spent >= 0 else None


def _foreign(raw: Raw, attributes: Mapping[str, Any]) -> Message:
    headers = {name: _header(attribute) for name, attribute in attributes.items()}
    system = raw.get("Attributes", {})
    if "MessageGroupId" in system:
        headers.setdefault(GROUP_HEADER, system["MessageGroupId"])
    given = headers.get("content_type")
    return Message(
        id=raw["MessageId"],
        body=raw["Body"].encode(),
        content_type=given if isinstance(given, str) else TEXT,
        headers=headers,
        published_at=int(system.get("SentTimestamp", 0)) / 1000,
    )


def _header(attribute: Mapping[str, Any]) -> Header:
    """Returns a foreign attribute as a header; binary ones as base64, for headers are text."""
    if "BinaryValue" in attribute:
        return b64encode(attribute["BinaryValue"]).decode()
    value: str = attribute.get("StringValue", "")
    if attribute["DataType"].partition(".")[0] != "Number":
        return value
    try:
        return header_number(int(value))
    except ValueError:
        return _float(value)


def _float(value: str) -> Header:
    try:
        return float(value)
    except ValueError:
        return value
