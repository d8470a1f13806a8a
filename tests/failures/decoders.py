"""What reads bytes that others wrote, as functions of bytes: targets of fuzzing.

Each takes any bytes, and may raise what its decoder declares, which is caught here, and nothing
else. A message that comes out must be one that a handler can be given.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Mapping
from functools import cache

import msgspec

from tests.lua.vms import failure_of, make_vm
from wippy_lua.call import Call
from wippy_lua.queue.drivers.amqp import message as amqp
from wippy_lua.queue.drivers.amqp import wire
from wippy_lua.queue.drivers.redis.entry import decode_entry, encode_meta, published_at
from wippy_lua.queue.drivers.sqlite.rows import message_of
from wippy_lua.queue.drivers.sqs import wire as sqs
from wippy_lua.queue.message import Message
from wippy_lua.queue.settle import Success

#: Lists of byte strings, as the fields of a Redis entry are.
_fields = msgspec.msgpack.Decoder(list[bytes]).decode

EXAMPLE = Message(
    "id-1", b'{"a":1}', "application/json", {"a": 1, "b": "x", "c": 1.5, "d": True}, 1.5
)


def check_message(message: Message) -> None:
    """Fails for a message that could not be handed to a handler, or stored again."""
    message.id.encode()
    message.content_type.encode()
    assert isinstance(message.body, bytes)
    assert math.isfinite(message.published_at)
    for key, value in message.headers.items():
        key.encode()
        assert isinstance(value, str | bool | int | float), (key, value)
    msgspec.msgpack.encode(dict(message.headers))


def frames(data: bytes) -> None:
    """AMQP: a stream that comes in two pieces."""
    reader, middle = wire.FrameReader(), len(data) // 2
    try:
        whole = list(wire.FrameReader().feed(data))
        cut = [*reader.feed(data[:middle]), *reader.feed(data[middle:])]
    except wire.ProtocolError:
        return
    assert whole == cut


def method(data: bytes) -> None:
    """AMQP: the payload of a method frame."""
    try:
        wire.decode_method(data)
    except wire.ProtocolError:
        return


def header(data: bytes) -> None:
    """AMQP: the payload of a content header, and the message that it makes."""
    try:
        _, properties = wire.decode_content_header(data)
    except wire.ProtocolError:
        return
    check_message(amqp.to_message(properties, b"body"))
    assert amqp.attempt_of(properties, redelivered=True) >= 2
    amqp.expiry_of(properties, now=0.0)


def redis_entry(data: bytes) -> None:
    """Redis: the fields of a stream entry, packed as a list."""
    try:
        fields = _fields(data)
    except msgspec.DecodeError:
        return
    message, attempts = decode_entry(b"1-1", fields[: len(fields) // 2 * 2])
    check_message(message)
    assert attempts >= 0


def redis_meta(data: bytes) -> None:
    """Redis: what is in the field `_meta`."""
    check_message(decode_entry(b"1-1", [b"_meta", data, b"body", b"x"])[0])
    published_at(b"1-1", data)


def sqlite_inbox(data: bytes) -> None:
    """SQLite: headers that another program wrote, which are a JSON object or are refused there."""
    text = data.decode(errors="replace")
    takes = "SELECT json_type(?1) = 'object' WHERE json_valid(?1)"
    if _database().execute(takes, (text,)).fetchone() == (1,):
        check_message(message_of(0.0, "id", "text/plain", text, b"x"))


def sqs_attribute(data: bytes) -> None:
    """SQS: our attribute, and one of another program."""
    text = data.decode(errors="replace")
    for kind in ("String", "Number"):
        given = {"DataType": kind, "StringValue": text}
        attributes = {sqs.ATTRIBUTE: given, "other": given}
        raw = {"MessageId": "m", "Body": text, "MessageAttributes": attributes, "Attributes": {}}
        try:
            stored = sqs.read(raw)
        except sqs.NewerFormatError:
            continue
        check_message(stored.message)
        assert stored.spent >= 0


@cache
def _database() -> sqlite3.Connection:
    return sqlite3.connect(":memory:")


@cache
def _decoding_vm() -> Callable[[int, bytes], None]:
    vm = make_vm("return function() end")

    def decode(kind: int, body: bytes) -> None:
        outcome = vm.handle(Call("app:f"), kind, body)
        if not isinstance(outcome, Success):
            assert "the body does not decode" in failure_of(outcome).error.message, outcome

    return decode


def lua_json(data: bytes) -> None:
    """JSON in a VM: what Lua takes, msgspec takes, too."""
    _decoding_vm()(1, data)


def lua_msgpack(data: bytes) -> None:
    """MessagePack in a VM."""
    _decoding_vm()(2, data)


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    each.__name__: each
    for each in (
        frames,
        method,
        header,
        redis_entry,
        redis_meta,
        sqlite_inbox,
        sqs_attribute,
        lua_json,
        lua_msgpack,
    )
}


def seeds() -> Mapping[str, list[bytes]]:
    """Returns valid input for each target, for damage to begin with."""
    raw = [
        wire.Raw(ord("T"), b"\0" * 8),
        wire.Raw(ord("D"), b"\2\0\0\0\1"),
        wire.Raw(ord("A"), b"\0" * 4),
    ]
    properties = amqp.to_properties(EXAMPLE, expires=5.0)
    properties.headers = {
        **(properties.headers or {}),
        **{f"r{n}": each for n, each in enumerate(raw)},
    }
    deliver = b"\0\x3c\0\x3c\1t" + b"\0" * 8 + b"\0\1x\1y"
    methods = [
        wire.method(1, "queue.declare", queue="q", arguments={"a": 1, "b": {"c": "x"}}),
        wire.method(0, "connection.close", reply_code=320, reply_text="bye"),
        wire.method(1, "basic.ack", delivery_tag=5, multiple=True),
    ]
    pack = msgspec.msgpack.encode
    text, attributes = sqs.write(sqs.Stored(EXAMPLE, 2, 5.0, 1.0))
    body = EXAMPLE.body
    return {
        "frames": [b"".join(methods), *methods],
        "method": [each[7:-1] for each in methods] + [deliver],
        "header": [wire.content_header(7, properties)],
        "redis_entry": [
            pack([b"_meta", encode_meta(EXAMPLE), b"_attempts", b"3", b"body", body]),
            pack([b"_origin", b"5-1", b"a", b"x", b"b", b"y"]),
            pack([b"body", b"x", b"content_type", b"y", b"other", b"z"]),
        ],
        "redis_meta": [encode_meta(EXAMPLE)],
        "sqlite_inbox": [b'{"a": 1, "b": [1], "c": 1e5, "d": "x"}'],
        "sqs_attribute": [
            attributes[sqs.ATTRIBUTE]["StringValue"].encode(),
            text.encode(),
            b"1.5",
            b"7",
        ],
        "lua_json": [body, b'[1, -2.5e3, "\\u00e9\\ud83d\\ude00", null, true, {"a": {}}]'],
        "lua_msgpack": [pack({"a": [1, -1, 1 << 40, 1.5, None, True, b"\xff"], "b": {1: 2}})],
    }


#: What once was not understood, or is easily not.
KNOWN: Mapping[str, list[bytes]] = {
    "header": [
        # A time, and a decimal, of which only some bytes are there.
        b"\0\x3c\0\0" + b"\0" * 8 + b"\x20\0" + b"\0\0\0\5" + b"\1a" + letter + b"\0\0"
        for letter in (b"T", b"D")
    ]
    + [wire.content_header(7, wire.Properties(headers={amqp.PUBLISHED: math.nan}))],
    "redis_entry": [
        msgspec.msgpack.encode(fields)
        for fields in (
            [b"_origin", b"\xff", b"a", b"x"],
            [b"_origin", b"never", b"a", b"x"],
            [b"_origin", b"", b"a", b"x"],
            [b"_origin", b"9" * 400 + b"-1", b"a", b"x"],
            [b"_attempts", b"9" * 5000, b"a", b"x"],
        )
    ],
    "redis_meta": [
        msgspec.msgpack.encode((1, "i", "t", {"a": 1.5}, math.inf)),
        b"\x95\x01\xa1\xff\xa1t\x80\xcb" + b"\0" * 8,
        b"\x95\x01\xa1i\xa1t\x81\xa1\xff\xa1x\xcb" + b"\0" * 8,
    ],
    "sqlite_inbox": [
        b'{"a": 123456789012345678901234567890, "b": -1e999}',
        b'{"\\ud800": "\\udfff"}',
    ],
    "sqs_attribute": [
        b"[" * 100_000,
        b"9" * 5000,
        b"9" * 30,
        b"-" + b"9" * 30,
        b'{"v":1,"id":"\\ud800","at":1,"type":"t"}',
        b'{"v":1,"id":"i","at":1,"type":"t","headers":{"\\ud800":"\\ud800"}}',
        b'{"v":1,"id":"i","at":' + b"9" * 400 + b',"type":"t"}',
        b'{"v":1,"id":"i","at":NaN,"type":"t","spent":-5}',
        b'{"v":1,"id":"i","at":1,"type":"t","headers":{"a":' + b"9" * 30 + b"}}",
        b'{"v":1,"id":"i","at":1,"type":"t","headers":{"a":Infinity},"expires":NaN}',
    ],
    "lua_json": [b"[" * 100_000, b"9" * 5000, b'"\\ud800"', b"\xef\xbb\xbf1", b"1e999", b"-"],
    "lua_msgpack": [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x91" * 100_000,
        b"\xc1",
        b"\xc7\0\1",
    ],
}
