"""Bodies as bytes: how a value is written, and how a handler should read it."""

from __future__ import annotations

import msgspec

from wippy_lua.errors import Kind, WippyError
from wippy_lua.queue.config import Codec
from wippy_lua.queue.message import BINARY, JSON, MSGPACK, TEXT

#: How a body is written; boot.lua has the same values.
AS_TEXT, AS_JSON, AS_MSGPACK = 0, 1, 2

CONTENT_TYPES: dict[Codec, str] = {"json/plain": JSON, "application/msgpack": MSGPACK}
TYPE_OF_KIND = {AS_JSON: JSON, AS_MSGPACK: MSGPACK}
_KINDS = {
    JSON: AS_JSON,
    MSGPACK: AS_MSGPACK,
    "application/x-msgpack": AS_MSGPACK,
    TEXT: AS_TEXT,
    BINARY: AS_TEXT,
}


def text_type(body: bytes) -> str:
    """Returns the content type of a string that travels as it is."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return BINARY
    return TEXT


def body_kind(content_type: str) -> int:
    """Returns how a handler reads a body: JSON and MessagePack by their type, else as a string."""
    kind = _KINDS.get(content_type)
    if kind is None:
        essence = content_type.partition(";")[0].strip().lower()
        kind = AS_JSON if essence.endswith("+json") else _KINDS.get(essence, AS_TEXT)
    return kind


def encode(value: object, codec: Codec) -> tuple[bytes, str]:
    """Returns the body and content type of a Python value; raises WippyError for what has none."""
    if value is None:
        raise WippyError("data is missing: None cannot be published", kind=Kind.INVALID)
    if isinstance(value, str):
        return value.encode(), TEXT
    if isinstance(value, bytes | bytearray | memoryview):
        body = bytes(value)
        return body, text_type(body)
    if isinstance(value, dict | list | tuple) and not value:
        raise WippyError("data is empty", kind=Kind.INVALID)
    try:
        write = msgspec.json.encode if codec == "json/plain" else msgspec.msgpack.encode
        return write(value), CONTENT_TYPES[codec]
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise WippyError(f"data does not encode as {codec}: {error}", kind=Kind.INVALID) from error
