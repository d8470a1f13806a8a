"""AMQP 0-9-1 as bytes, without a socket: frames, methods, content headers and tables.

Only what this driver says and hears is here. It is written out, not taken from a client library,
because header values have to keep their types: the libraries cannot send a double, cut it to an
integer when they read one, or send it in 32 bits. Values of types that a message of ours never has
stay encoded as they came (`Raw`), so that a copy of somebody else's message is a true copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from struct import error as StructError  # noqa: N812 - it is an exception class
from typing import Any, Final

import msgspec
from msgspec.structs import astuple

PROTOCOL_HEADER: Final = b"AMQP\x00\x00\x09\x01"
METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3
HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"
FRAME_OVERHEAD: Final = 8  #: bytes around the payload of a frame
MAX_FRAME: Final = 131_072  #: bytes of the largest frame that we ask for, as RabbitMQ does
MAX_SHORT: Final = 255  #: bytes of a short string: names, and most properties

_FRAME = Struct(">BHI")
_U8, _U16, _U32, _U64 = Struct(">B"), Struct(">H"), Struct(">I"), Struct(">Q")
_I64, _F32, _F64 = Struct(">q"), Struct(">f"), Struct(">d")
_CONTENT = Struct(">HHQH")
_ACK = Struct(">BHIHHQBB")
_BASIC: Final = 60

#: Integers as tables hold them: the type's letter, and how its value is read. The letters are
#: RabbitMQ's, which differ from the standard's.
_INTEGERS: Final = {
    ord("b"): Struct(">b"),
    ord("B"): Struct(">B"),
    ord("s"): Struct(">h"),
    ord("u"): Struct(">H"),
    ord("I"): Struct(">i"),
    ord("i"): Struct(">I"),
    ord("l"): Struct(">q"),
    ord("L"): Struct(">q"),
}
#: Bytes of the values that stay encoded and have one size; the others say theirs first.
_RAW_SIZES: Final = {ord("D"): 5, ord("T"): 8, ord("V"): 0}


class ProtocolError(Exception):
    """The peer sent bytes that are no AMQP."""


@dataclass(frozen=True, slots=True)
class Raw:
    """A table's value as it was encoded: the letter of its type, and its bytes."""

    letter: int
    data: bytes


class Properties(msgspec.Struct, gc=False):
    """The properties of a message, in the order of their flags; None is left out."""

    content_type: str | None = None
    content_encoding: str | None = None
    headers: dict[str, Any] | None = None
    delivery_mode: int | None = None
    priority: int | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    expiration: str | None = None
    message_id: str | None = None
    timestamp: int | None = None
    type: str | None = None
    user_id: str | None = None
    app_id: str | None = None


_SHORT, _TABLE, _OCTET, _TIME = range(4)
_PROPERTIES: Final = tuple(
    (1 << (15 - position), name, kind)
    for position, (name, kind) in enumerate(
        [
            ("content_type", _SHORT),
            ("content_encoding", _SHORT),
            ("headers", _TABLE),
            ("delivery_mode", _OCTET),
            ("priority", _OCTET),
            ("correlation_id", _SHORT),
            ("reply_to", _SHORT),
            ("expiration", _SHORT),
            ("message_id", _SHORT),
            ("timestamp", _TIME),
            ("type", _SHORT),
            ("user_id", _SHORT),
            ("app_id", _SHORT),
        ]
    )
)

# Types of a method's fields: o octet, h short, l long, q long long, s short string, S long string,
# t table, b bit.
_FIELDS: Final[Mapping[str, tuple[tuple[int, int], str]]] = {
    "connection.start": (
        (10, 10),
        "major:o minor:o server_properties:t mechanisms:S locales:S",
    ),
    "connection.start-ok": ((10, 11), "client_properties:t mechanism:s response:S locale:s"),
    "connection.tune": ((10, 30), "channel_max:h frame_max:l heartbeat:h"),
    "connection.tune-ok": ((10, 31), "channel_max:h frame_max:l heartbeat:h"),
    "connection.open": ((10, 40), "virtual_host:s reserved_1:s reserved_2:b"),
    "connection.open-ok": ((10, 41), "reserved_1:s"),
    "connection.close": ((10, 50), "reply_code:h reply_text:s class_id:h method_id:h"),
    "connection.close-ok": ((10, 51), ""),
    "connection.blocked": ((10, 60), "reason:s"),
    "connection.unblocked": ((10, 61), ""),
    "channel.open": ((20, 10), "reserved_1:s"),
    "channel.open-ok": ((20, 11), "reserved_1:S"),
    "channel.flow": ((20, 20), "active:b"),
    "channel.flow-ok": ((20, 21), "active:b"),
    "channel.close": ((20, 40), "reply_code:h reply_text:s class_id:h method_id:h"),
    "channel.close-ok": ((20, 41), ""),
    "queue.declare": (
        (50, 10),
        "reserved_1:h queue:s passive:b durable:b exclusive:b auto_delete:b no_wait:b arguments:t",
    ),
    "queue.declare-ok": ((50, 11), "queue:s message_count:l consumer_count:l"),
    "queue.purge": ((50, 30), "reserved_1:h queue:s no_wait:b"),
    "queue.purge-ok": ((50, 31), "message_count:l"),
    "basic.qos": ((60, 10), "prefetch_size:l prefetch_count:h global:b"),
    "basic.qos-ok": ((60, 11), ""),
    "basic.consume": (
        (60, 20),
        "reserved_1:h queue:s consumer_tag:s no_local:b no_ack:b exclusive:b no_wait:b arguments:t",
    ),
    "basic.consume-ok": ((60, 21), "consumer_tag:s"),
    "basic.cancel": ((60, 30), "consumer_tag:s no_wait:b"),
    "basic.cancel-ok": ((60, 31), "consumer_tag:s"),
    "basic.publish": (
        (60, 40),
        "reserved_1:h exchange:s routing_key:s mandatory:b immediate:b",
    ),
    "basic.return": ((60, 50), "reply_code:h reply_text:s exchange:s routing_key:s"),
    "basic.deliver": (
        (60, 60),
        "consumer_tag:s delivery_tag:q redelivered:b exchange:s routing_key:s",
    ),
    "basic.get": ((60, 70), "reserved_1:h queue:s no_ack:b"),
    "basic.get-ok": (
        (60, 71),
        "delivery_tag:q redelivered:b exchange:s routing_key:s message_count:l",
    ),
    "basic.get-empty": ((60, 72), "reserved_1:s"),
    "basic.ack": ((60, 80), "delivery_tag:q multiple:b"),
    "basic.nack": ((60, 120), "delivery_tag:q multiple:b requeue:b"),
    "confirm.select": ((85, 10), "no_wait:b"),
    "confirm.select-ok": ((85, 11), ""),
}
_FORMS: Final = {
    name: (number, tuple(tuple(field.split(":")) for field in fields.split()))
    for name, (number, fields) in _FIELDS.items()
}
_NAMES: Final = {(number[0] << 16) + number[1]: name for name, (number, _) in _FORMS.items()}
_DELIVER: Final = (60 << 16) + 60

#: Those that are followed by a content header and a body.
WITH_CONTENT: Final = frozenset({"basic.deliver", "basic.return", "basic.get-ok"})


# Frames


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """Returns a whole frame."""
    return b"%b%b\xce" % (_FRAME.pack(kind, channel, len(payload)), payload)


def content_frames(channel: int, header: bytes, body: bytes, max_frame: int) -> list[bytes]:
    """Returns the pieces of a header frame and of as many frames as the body needs."""
    pack, size = _FRAME.pack, max_frame - FRAME_OVERHEAD
    pieces = [pack(HEADER, channel, len(header)), header, b"\xce"]
    if 0 < len(body) <= size:  # nearly all
        pieces += (pack(BODY, channel, len(body)), body, b"\xce")
    else:
        pieces += [
            frame(BODY, channel, body[start : start + size]) for start in range(0, len(body), size)
        ]
    return pieces


class FrameReader:
    """Cuts a stream into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Yields type, channel and payload of what is complete; raises ProtocolError."""
        if self._rest:
            data = self._rest + data
        position, end = 0, len(data)
        unpack = _FRAME.unpack_from
        while position + FRAME_OVERHEAD <= end:
            kind, channel, size = unpack(data, position)
            after = position + 7 + size
            if size > MAX_FRAME:
                raise ProtocolError(f"a frame of {size} bytes")
            if after >= end:
                break
            if data[after] != 0xCE:
                raise ProtocolError("a frame does not end where it says")
            yield kind, channel, data[position + 7 : after]
            position = after + 1
        self._rest = data[position:]


# Methods


def method(channel: int, name: str, **values: Any) -> bytes:
    """Returns the frame of a method; fields that are not given are zero or empty."""
    (class_id, method_id), fields = _FORMS[name]
    out = [_U16.pack(class_id), _U16.pack(method_id)]
    bits, bit_count = 0, 0
    for field, kind in fields:
        if kind == "b":
            bits |= bool(values.get(field)) << bit_count
            bit_count += 1
            continue
        if bit_count:
            out.append(_U8.pack(bits))
            bits, bit_count = 0, 0
        out.append(_encode_field(kind, values.get(field)))
    if bit_count:
        out.append(_U8.pack(bits))
    return frame(METHOD, channel, b"".join(out))


def ack(channel: int, tag: int, multiple: bool) -> bytes:
    """Returns the frame of `basic.ack`, the one that is sent most."""
    return _ACK.pack(METHOD, channel, 13, _BASIC, 80, tag, multiple, 0xCE)


def decode_method(payload: bytes) -> tuple[str, dict[str, Any]]:
    """Returns name and fields of a method; raises ProtocolError."""
    try:
        number = _U32.unpack_from(payload)[0]
        if number == _DELIVER:
            tag_length = payload[4]
            tag, redelivered = (
                _U64.unpack_from(payload, 5 + tag_length)[0],
                payload[13 + tag_length],
            )
            return "basic.deliver", {"delivery_tag": tag, "redelivered": bool(redelivered)}
        name = _NAMES[number]
        return name, _decode_fields(name, payload)
    except (KeyError, IndexError, StructError) as error:
        raise ProtocolError(f"a method is not understood: {payload[:4].hex()}") from error


def _encode_field(kind: str, value: Any) -> bytes:
    match kind:
        case "o":
            return _U8.pack(value or 0)
        case "h":
            return _U16.pack(value or 0)
        case "l":
            return _U32.pack(value or 0)
        case "q":
            return _U64.pack(value or 0)
        case "s":
            return short(value or "")
        case "S":
            return _long(value or b"")
        case _:
            return encode_table(value or {})


def _decode_fields(name: str, payload: bytes) -> dict[str, Any]:
    values: dict[str, Any] = {}
    position, bit = 4, 0
    for field, kind in _FORMS[name][1]:
        if kind == "b":
            values[field] = bool(payload[position] >> bit & 1)
            bit += 1
            continue
        position, bit = position + bool(bit), 0
        values[field], position = _decode_field(kind, payload, position)
    return values


def _decode_field(kind: str, data: bytes, at: int) -> tuple[Any, int]:
    match kind:
        case "o":
            return data[at], at + 1
        case "h":
            return _U16.unpack_from(data, at)[0], at + 2
        case "l":
            return _U32.unpack_from(data, at)[0], at + 4
        case "q":
            return _U64.unpack_from(data, at)[0], at + 8
        case "s":
            end = at + 1 + data[at]
            return _text(data[at + 1 : end]), end
        case "S":
            end = at + 4 + _U32.unpack_from(data, at)[0]
            return data[at + 4 : end], end
        case _:
            return _decode_table(data, at)


# Content headers


def flags_of(*names: str) -> int:
    """Returns the flags that say which properties follow."""
    return sum(flag for flag, name, _ in _PROPERTIES if name in names)


def content_start(body_size: int, flags: int) -> bytes:
    """Returns what a content header begins with; the properties follow, in their order."""
    return _CONTENT.pack(_BASIC, 0, body_size, flags)


def content_header(body_size: int, properties: Properties) -> bytes:
    """Returns the payload of a content header frame; `ValueError` for what does not fit."""
    flags, out = 0, [b""]
    for value, (flag, _, kind) in zip(astuple(properties), _PROPERTIES, strict=True):
        if value is None:
            continue
        flags |= flag
        if kind == _SHORT:
            out.append(short(value))
        elif kind == _TABLE:
            out.append(encode_table(value))
        elif kind == _OCTET:
            out.append(_U8.pack(value))
        else:
            out.append(_U64.pack(value))
    out[0] = content_start(body_size, flags)
    return b"".join(out)


def decode_content_header(payload: bytes) -> tuple[int, Properties]:
    """Returns the size of the body and the properties; raises ProtocolError."""
    try:
        _, _, body_size, flags = _CONTENT.unpack_from(payload)
        properties = Properties()
        at = _CONTENT.size
        for flag, name, kind in _PROPERTIES:
            if not flags & flag:
                continue
            value: Any
            if kind == _SHORT:
                end = at + 1 + payload[at]
                value, at = _text(payload[at + 1 : end]), end
            elif kind == _TABLE:
                value, at = _decode_table(payload, at)
            elif kind == _OCTET:
                value, at = payload[at], at + 1
            else:
                value, at = _U64.unpack_from(payload, at)[0], at + 8
            setattr(properties, name, value)
    except (IndexError, StructError) as error:
        raise ProtocolError("a content header ends too early") from error
    return body_size, properties


# Tables


def encode_table(table: Mapping[str, object]) -> bytes:
    """Returns a table; `ValueError` for a key or value that AMQP cannot carry."""
    out = []
    for key, value in table.items():
        out.append(_name(key))
        out.append(_encode_value(key, value))
    data = b"".join(out)
    return _U32.pack(len(data)) + data


def _encode_value(key: str, value: object) -> bytes:
    if isinstance(value, float):  # every message of ours has one: when it was published
        return b"d" + _F64.pack(value)
    match value:
        case bool():
            return b"t\x01" if value else b"t\x00"
        case str():
            return b"S" + _long(value.encode())
        case int():
            if not -(2**63) <= value < 2**63:
                raise ValueError(f"{key!r}: the integer has more than 64 bits")
            return b"l" + _I64.pack(value)
        case Raw():
            return bytes((value.letter,)) + value.data
        case dict():
            return b"F" + encode_table(value)
        case _:
            raise ValueError(f"{key!r}: no type of AMQP for {type(value).__name__}")


def _decode_table(data: bytes, at: int) -> tuple[dict[str, Any], int]:
    end = at + 4 + _U32.unpack_from(data, at)[0]
    at += 4
    table: dict[str, Any] = {}
    while at < end:
        key_end = at + 1 + data[at]
        key = _text(data[at + 1 : key_end])
        table[key], at = _decode_value(data, key_end)
    return table, end


def _decode_value(data: bytes, at: int) -> tuple[Any, int]:
    letter, at = data[at], at + 1
    if letter == 83:  # S, by far the most frequent
        end = at + 4 + _U32.unpack_from(data, at)[0]
        try:
            return data[at + 4 : end].decode(), end
        except UnicodeDecodeError:
            return Raw(letter, data[at:end]), end
    if letter == 100:  # d
        return _F64.unpack_from(data, at)[0], at + 8
    number = _INTEGERS.get(letter)
    if number is not None:
        return number.unpack_from(data, at)[0], at + number.size
    if letter == 116:  # t
        return data[at] != 0, at + 1
    if letter == 102:  # f
        return _F32.unpack_from(data, at)[0], at + 4
    size = _RAW_SIZES.get(letter)
    if size is None:  # x, A, F: their length comes first
        size = 4 + _U32.unpack_from(data, at)[0]
    if at + size > len(data):
        raise ProtocolError("a table ends too early")
    return Raw(letter, data[at : at + size]), at + size


def short(text: str) -> bytes:
    """Returns a short string; `ValueError` for one that is too long."""
    data = text.encode()
    if len(data) > MAX_SHORT:
        raise ValueError(f"{text[:30]!r}... has {len(data)} bytes, over AMQP's {MAX_SHORT}")
    return _U8.pack(len(data)) + data


#: Names in tables are the same few again and again.
_name: Final = lru_cache(maxsize=256)(short)


def _long(data: bytes) -> bytes:
    return _U32.pack(len(data)) + data


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")
