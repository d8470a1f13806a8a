"""MessagePack in Lua against msgspec, in both directions."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lupa.lua54 import lua_type

from tests.lua.codec_vm import FLOATS, INTEGERS, MSGPACK_DOCUMENTS, TEXT, Codec, normalised, same

pytestmark = pytest.mark.once  # nothing here waits


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec()


class TestMessagePack:
    @given(document=MSGPACK_DOCUMENTS)
    @settings(max_examples=300, deadline=None)
    def test_what_msgspec_writes_is_read_and_written_back(
        self, codec: Codec, document: Any
    ) -> None:
        value = codec.call("msgpack_decode", msgspec.msgpack.encode(document))
        written = codec.call("msgpack_encode", value)
        assert same(msgspec.msgpack.decode(written, strict=True), normalised(document))

    @given(number=INTEGERS | FLOATS | TEXT | st.binary(max_size=300))
    @settings(max_examples=300, deadline=None)
    def test_scalars_are_written_byte_for_byte_as_by_msgspec(
        self, codec: Codec, number: Any
    ) -> None:
        raw = number.encode() if isinstance(number, str) else number
        expected = msgspec.msgpack.encode(normalised(raw))
        assert codec.call("msgpack_encode", raw) == expected

    @pytest.mark.parametrize("size", [0, 1, 15, 16, 31, 32, 255, 256, 65535, 65536, 70000])
    def test_every_size_of_head_is_msgspec_s(self, codec: Codec, size: int) -> None:
        for document in ("é" * (size // 2), b"\xff" * (size or 1), list(range(size))):
            packed = msgspec.msgpack.encode(document)
            value = codec.call("msgpack_decode", packed)
            assert codec.call("msgpack_encode", value) == packed
        members = {str(n): n for n in range(size)}
        value = codec.call("msgpack_decode", msgspec.msgpack.encode(members))
        assert msgspec.msgpack.decode(codec.call("msgpack_encode", value)) == members

    def test_any_mixture_of_string_and_integer_keys_is_a_map(self, codec: Codec) -> None:
        packed = codec.encode("{10, 20, a = 1, [-5] = 2, [2^53 | 0] = 3}", "msgpack")
        assert msgspec.msgpack.decode(packed) == {1: 10, 2: 20, "a": 1, -5: 2, 2**53: 3}
        assert msgspec.msgpack.decode(codec.encode("{1, nil, 3}", "msgpack")) == {1: 1, 3: 3}

    @pytest.mark.parametrize("expression", ["{[true] = 1}", "{[1.5] = 1}", "{a = {[print] = 1}}"])
    def test_other_keys_are_refused(self, codec: Codec, expression: str) -> None:
        message, kind = codec.failure(codec.encode(expression, "msgpack"))
        assert message.startswith("a map key must be a string or an integer")
        assert kind == "internal"

    def test_nulls_and_special_floats_are_kept(self, codec: Codec) -> None:
        packed = codec.encode("{null, 1/0, -1/0, 1.0}", "msgpack")
        assert msgspec.msgpack.decode(packed) == [None, math.inf, -math.inf, 1.0]
        value = codec.call("msgpack_decode", packed)
        assert codec.identical(value[1], codec.null)
        assert math.isnan(codec.call("msgpack_decode", codec.encode("0/0", "msgpack")))

    def test_other_producers_forms_are_read(self, codec: Codec) -> None:
        def read(packed: bytes) -> Any:
            return codec.to_python(codec.call("msgpack_decode", packed))

        assert same(read(b"\xca\x3f\xc0\x00\x00"), 1.5)  # float 32
        assert same(read(b"\xd3\x00\x00\x00\x00\x00\x00\x00\x01"), 1)  # not the smallest form
        assert same(read(b"\xcf" + b"\xff" * 8), 2.0**64)
        assert same(read(b"\xcf\x80" + b"\0" * 7), 2.0**63)
        assert same(read(b"\xa2\xff\xfe"), b"\xff\xfe")  # str that is not UTF-8
        assert same(read(b"\x81\xc4\x01a\x01"), {b"a": 1})  # bin as a key

    @pytest.mark.parametrize(
        ("packed", "message"),
        [
            (b"\xc1", "extension types are not supported at byte 1"),
            (b"\xd6\xff\0\0\0\0", "extension types are not supported at byte 1"),
            (b"\x92\x01", "MessagePack ends too early at byte 3"),
            (b"\xdd\xff\xff\xff\xff\x01", "MessagePack ends too early at byte 7"),
            (b"\xdf\xff\xff\xff\xff", "MessagePack ends too early at byte 6"),
            (b"\xdb\xff\xff\xff\xff", "MessagePack ends too early at byte 6"),
            (b"\xcd\x01", "MessagePack ends too early at byte 3"),
            (b"\xd9", "MessagePack ends too early at byte 2"),
            (b"\x01\x02", "bytes go on after the value at byte 2"),
            (b"\x81\xc0\x01", "a map key must be a string or an integer of 64 bits at byte 2"),
            (
                b"\x81\xcb" + b"\0" * 9,
                "a map key must be a string or an integer of 64 bits at byte 2",
            ),
            (b"\x81\x90\x01", "a map key must be a string or an integer of 64 bits at byte 2"),
        ],
    )
    def test_refuses(self, codec: Codec, packed: bytes, message: str) -> None:
        result = codec.failure(codec.call("msgpack_decode", packed))
        assert result == (message, "internal")

    def test_no_bytes_are_invalid(self, codec: Codec) -> None:
        result = codec.failure(codec.call("msgpack_decode", b""))
        assert result == ("MessagePack is empty", "invalid")

    @pytest.mark.parametrize("head", [b"\x91", b"\x81\x01"])
    def test_128_levels_are_the_limit(self, codec: Codec, head: bytes) -> None:
        assert lua_type(codec.call("msgpack_decode", head * 128 + b"\x01")) == "table"
        for packed in (head * 129 + b"\x01", head * 100_000):
            message, _ = codec.failure(codec.call("msgpack_decode", packed))
            assert message.startswith("nesting is deeper than 128 levels")
