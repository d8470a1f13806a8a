"""The codecs on bad input and on large input, and how they charge for their work."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lua.codec_vm import (
    JSON_DOCUMENTS,
    MSGPACK_DOCUMENTS,
    Codec,
    as_bytes,
    without_null_members,
)

pytestmark = pytest.mark.once  # nothing here waits

LIMIT = 1.0  # seconds that one case of bad input may take


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec()


def mutilated(text: bytes, data: st.DataObject) -> bytes:
    """Returns the text with a piece cut out or replaced."""
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 8)))
    return text[:start] + data.draw(st.binary(max_size=4)) + text[stop:]


class TestBadInput:
    @given(text=st.binary(max_size=200) | st.text('[]{}",:\\u0123eE.+-tfn \n', max_size=60))
    @settings(max_examples=500, deadline=1000 * LIMIT)
    def test_noise_is_answered_never_raised(self, codec: Codec, text: str | bytes) -> None:
        raw = text.encode() if isinstance(text, str) else text
        for decode in ("json_decode", "msgpack_decode"):
            result = codec.call(decode, raw)
            if isinstance(result, tuple):
                codec.failure(result)

    @given(document=JSON_DOCUMENTS, data=st.data())
    @settings(max_examples=300, deadline=1000 * LIMIT)
    def test_json_is_accepted_exactly_when_msgspec_accepts_it(
        self, codec: Codec, document: Any, data: st.DataObject
    ) -> None:
        text = mutilated(json.dumps(document, ensure_ascii=False).encode(), data)
        result = codec.decode(text)
        refused = isinstance(result, tuple)
        try:
            expected = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            assert refused
            return
        if not refused:
            assert codec.to_python(result) == as_bytes(without_null_members(expected))
        else:
            assert b"out of range" in result[1]

    @given(document=MSGPACK_DOCUMENTS, data=st.data())
    @settings(max_examples=300, deadline=1000 * LIMIT)
    def test_damaged_messagepack_is_answered_never_raised(
        self, codec: Codec, document: Any, data: st.DataObject
    ) -> None:
        result = codec.call("msgpack_decode", mutilated(msgspec.msgpack.encode(document), data))
        if isinstance(result, tuple):
            codec.failure(result)


MILLION = 10**6
DEGENERATE = {
    "digits and a point": b"1" * MILLION + b".",
    "digits and an exponent": b"1" * MILLION + b"e",
    "fraction and an exponent": b"1." + b"1" * MILLION + b"e",
    "many digits": b"-" + b"9" * MILLION,
    "long numbers in an array": b"[" + b",".join([b"7" * 10_000] * 100) + b"]",
    "space without a value": b" " * MILLION,
    "space in an array": b"[1" + b" \n" * MILLION + b"}",
    "space in an object": b'{"a":1' + b" \n" * MILLION + b"]",
    "space before a colon": b'{"a"' + b" " * MILLION + b"}",
    "open string": b'"' + b"a" * MILLION,
    "open key": b'{"' + b"a" * MILLION,
    "backslashes": b'"' + b"\\" * MILLION,
    "escaped quotes in keys": b'{"' + b'\\"' * MILLION,
    "long strings with one escape each": b"[" + b",".join([b'"%s\\n"' % (b"a" * 9999)] * 100),
    "open long string": b'["' + b"a" * MILLION + b'\n"]',
    "lines": b"[" + b"\n" * MILLION + b"x",
    "open arrays of one": b"[[[1]]," * (MILLION // 7),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_text_is_refused_in_time(codec: Codec, name: str) -> None:
    started = time.process_time()
    codec.failure(codec.decode(DEGENERATE[name]))
    assert time.process_time() - started < LIMIT


LARGE = {
    "integers": list(range(200_000)),
    "floats": [n + 0.5 for n in range(100_000)],
    "objects": [{"id": n, "name": f"name {n}", "tags": [], "ok": True} for n in range(200_000)],
    "distinct keys": {f"key {n}": n for n in range(50_000)},
    "strings": ["x" * 1000] * 10_000,
    "escapes": ['line\n"é"' * 60_000],
    "nested": [[[[n]]] for n in range(50_000)],
}  # the objects and the strings are about 10 MB of JSON


class TestLargeInput:
    @pytest.mark.parametrize("name", LARGE)
    @pytest.mark.parametrize("form", ["json", "msgpack"])
    def test_work_is_charged_in_small_portions(self, form: str, name: str) -> None:
        codec = Codec()
        module: Any = msgspec.json if form == "json" else msgspec.msgpack
        text = module.encode(LARGE[name])
        value = codec.call(f"{form}_decode", text)
        decoding = list(codec.charges)
        codec.charges.clear()
        written = codec.call(f"{form}_encode", value)
        assert module.decode(written) == LARGE[name]
        for charges in (decoding, codec.charges):
            assert sum(charges) >= len(text) // 128
        if name != "escapes" or form == "json":
            assert max(decoding) <= 1000
            assert max(codec.charges) <= 2100

    def test_time_between_two_charges_stays_short(self) -> None:
        codec = Codec()
        text = msgspec.json.encode(LARGE["objects"])
        marks: list[float] = []
        codec.on_spend = lambda: marks.append(time.process_time())
        codec.call("json_encode", codec.call("json_decode", text))
        gaps = sorted(later - earlier for earlier, later in pairwise(marks))
        assert gaps[len(gaps) * 99 // 100] < 0.005

    def test_ten_megabytes_in_one_string(self) -> None:
        codec = Codec()
        for text in ("x" * 10**7, "é" * 5 * 10**6, "\n" * 10**6, "a\U0001f600" * 2 * 10**6):
            encoded = codec.call("json_encode", text.encode())
            assert json.loads(encoded) == text
            assert max(codec.charges) <= 2100
            assert codec.decode(encoded) == text.encode()
            codec.charges.clear()

    @pytest.mark.parametrize("size", [16_380, 16_381, 16_382, 16_383, 16_384, 32_766])
    def test_characters_are_whole_where_slices_meet(self, codec: Codec, size: int) -> None:
        text = "a" * size + "\U0001f600\n" + "é" * 10
        assert json.loads(codec.call("json_encode", text.encode())) == text
        assert codec.decode(json.dumps(text, ensure_ascii=False)) == text.encode()
        broken = b"a" * size + b"\xf0\x9f\x98" + b"a" * 10
        assert codec.failure(codec.call("json_encode", broken))[1] == "invalid"
        message, _ = codec.failure(codec.decode(b'"' + broken + b'"'))
        assert message == f"text is not UTF-8 at line 1 column {size + 2}"


class TestSpend:
    @pytest.mark.parametrize("form", ["json", "msgpack"])
    def test_every_call_is_charged_failures_included(self, codec: Codec, form: str) -> None:
        calls: list[Callable[[], object]] = [
            lambda: codec.encode("{1}", form),
            lambda: codec.encode("{print}", form),
            lambda: codec.call(f"{form}_decode", b"1"),
            lambda: codec.call(f"{form}_decode", b"\xc1"),
        ]
        for call in calls:
            codec.charges.clear()
            call()
            assert len(codec.charges) == 1

    def test_what_it_raises_passes_and_leaves_no_trace(self) -> None:
        codec = Codec()
        table = codec.table(
            "(function() local t = {} for i = 1, 5000 do t[i] = 'x' end return t end)()"
        )
        text = codec.call("json_encode", table)
        calls = [("json_encode", table), ("msgpack_encode", table), ("json_decode", text)]
        for function, argument in calls:
            codec.charges.clear()

            def stop_at_third() -> None:
                if len(codec.charges) == 3:
                    raise TimeoutError("stopped")

            codec.on_spend = stop_at_third
            with pytest.raises(TimeoutError, match="stopped"):
                codec.call(function, argument)
            codec.on_spend = lambda: None
            assert codec.encode("{1, 'a'}") == b'[1,"a"]'
            assert codec.encode("{1, 'a'}", "msgpack") == b"\x92\x01\xa1a"
            assert codec.to_python(codec.decode("[1]")) == [1]
