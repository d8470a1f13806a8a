"""Messages as operators read them, and back: bodies as JSON, text or base64."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

import msgspec

from wippy_lua.errors import Kind, WippyError
from wippy_lua.operations.values import Death, Encoding, Publication, StoredMessage
from wippy_lua.queue.codec import AS_JSON, AS_MSGPACK, body_kind
from wippy_lua.queue.message import RESERVED_PREFIX, Header, Message

ORIGINAL_QUEUE = "x_original_queue"


def stored_message(message: Message) -> StoredMessage:
    """Returns a message with its body in the form that says most of it."""
    body, encoding = _shown(message)
    return StoredMessage(
        id=message.id,
        content_type=message.content_type,
        headers=message.headers,
        body=body,
        encoding=encoding,
        size=len(message.body),
        published_at=message.published_at,
        death=death_of(message.headers),
    )


def death_of(headers: Mapping[str, Header]) -> Death | None:
    """Returns why a message is a dead letter; None when its headers know no original queue."""
    source = headers.get(ORIGINAL_QUEUE)
    if not isinstance(source, str):
        return None
    attempts = headers.get("x_attempts")
    return Death(
        original_queue=source,
        reason=_text(headers, "x_dead_letter_reason"),
        time=_text(headers, "x_dead_letter_time"),
        attempts=attempts if type(attempts) is int else None,
        error_kind=_text(headers, "x_error_kind"),
        error=_text(headers, "x_error"),
        stack=_text(headers, "x_error_stack"),
    )


def revived(message: Message) -> Message:
    """Returns a dead letter as it was before it died: without the `x_` headers."""
    headers = {k: v for k, v in message.headers.items() if not k.startswith(RESERVED_PREFIX)}
    return msgspec.structs.replace(message, headers=headers)


def published_data(publication: Publication) -> object:
    """Returns what `QueueManager.encode` takes; raises WippyError of kind INVALID."""
    body, encoding = publication.body, publication.encoding
    if encoding == "json":
        return body
    if not isinstance(body, str):
        raise _invalid(f"a body with the encoding {encoding!r} must be a string")
    if encoding == "text":
        return body
    try:
        return b64decode(body, validate=True)
    except ValueError as error:
        raise _invalid(f"the body is no base64: {error}") from error


def _shown(message: Message) -> tuple[Any, Encoding]:
    body, kind = message.body, body_kind(message.content_type)
    if kind in (AS_JSON, AS_MSGPACK):
        decode = msgspec.json.decode if kind == AS_JSON else msgspec.msgpack.decode
        try:
            # Back and forth: MessagePack has values that JSON has not.
            return msgspec.json.decode(msgspec.json.encode(decode(body))), "json"
        except (msgspec.DecodeError, TypeError, ValueError, OverflowError, RecursionError):
            pass  # shown as the bytes that it is
    try:
        return body.decode(), "text"
    except UnicodeDecodeError:
        return b64encode(body).decode(), "base64"


def _text(headers: Mapping[str, Header], name: str) -> str | None:
    value = headers.get(name)
    return value if isinstance(value, str) else None


def _invalid(message: str) -> WippyError:
    return WippyError(message, kind=Kind.INVALID, retryable=False)
