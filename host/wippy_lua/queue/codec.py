"""Bodies as bytes: how a value is written, and how a handler should read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from wippy_lua.errors import Kind, WippyError
from wippy_lua.queue.config import Codec
from wippy_lua.queue.message import BINARY, JSON, MSGPACK, TEXT

#: Levels of lists and maps that a VM reads; vm/codec/work.lua has the same number.
MAX_DEPTH = 128
_NO_KEYS = (float, bool, type(None), tuple, frozenset)

#: How a body is written; boot.lua has the same values.
AS_TEXT, AS_JSON, AS_MSGPACK = 0, 1, 2

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
        if codec == "json/plain":
            _check(value, any_key=True)
            return msgspec.json.encode(value), JSON
        return pack(value), MSGPACK
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise WippyError(f"data does not encode as {codec}: {error}", kind=Kind.INVALID) from error


def pack(value: object) -> bytes:
    """Returns a value as MessagePack that a VM reads; raises what msgspec does, or ValueError."""
    _check(value, any_key=False)
    return msgspec.msgpack.encode(value)


def _check(value: object, *, any_key: bool, depth: int = 1) -> None:
    """Raises ValueError for containers that a VM would not read: too deep, or with such keys.

    JSON turns `any_key` to text. What is inside of an object that msgspec encodes is not looked at.
    """
    if isinstance(value, dict):
        if not any_key:
            _check_keys(value)
        items: Iterable[object] = value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        items = value
    else:
        return
    if depth > MAX_DEPTH:
        raise ValueError(f"nesting is deeper than {MAX_DEPTH} levels")
    for item in items:
        _check(item, any_key=any_key, depth=depth + 1)


def _check_keys(value: Mapping[object, object]) -> None:
    for key in value:
        is_wide = isinstance(key, int) and not -(2**63) <= key < 2**63
        if is_wide or isinstance(key, _NO_KEYS):
            raise ValueError(f"a map's key must be text or an integer of 64 bits, not {key!r}")
