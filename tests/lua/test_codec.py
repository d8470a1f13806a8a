"""JSON in Lua against Python's json: what is written, what is read, what is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lupa.lua54 import lua_type

from tests.lua.codec_vm import (
    FLOATS,
    JSON_DOCUMENTS,
    Codec,
    as_bytes,
    same,
    without_null_members,
)

pytestmark = pytest.mark.once  # nothing here waits


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec()


class TestJsonRoundTrip:
    @given(document=JSON_DOCUMENTS, ascii_only=st.booleans(), indent=st.sampled_from([None, 2]))
    @settings(max_examples=300, deadline=None)
    def test_what_python_writes_is_read_and_written_back(
        self, codec: Codec, document: Any, ascii_only: bool, indent: int | None
    ) -> None:
        text = json.dumps(document, ensure_ascii=ascii_only, indent=indent)
        value = codec.decode(text)
        expected = without_null_members(document)
        assert same(codec.to_python(value), as_bytes(expected))
        assert same(json.loads(codec.call("json_encode", value)), expected)

    @given(document=JSON_DOCUMENTS)
    @settings(max_examples=200, deadline=None)
    def test_compact_text_is_the_same_as_spaced_text(self, codec: Codec, document: Any) -> None:
        compact = codec.decode(json.dumps(document, separators=(",", ":")))
        spaced = codec.decode(json.dumps(document, separators=(" , ", "\n:\t\r ")))
        assert same(codec.to_python(compact), codec.to_python(spaced))

    @given(number=FLOATS)
    @settings(max_examples=300, deadline=None)
    def test_floats_keep_their_value_and_stay_floats(self, codec: Codec, number: float) -> None:
        text = codec.call("json_encode", number)
        assert same(json.loads(text), number)
        assert math.copysign(1.0, json.loads(text)) == math.copysign(1.0, number)
        assert same(codec.decode(text), number)

    @given(
        parts=st.lists(
            st.sampled_from(["x" * 600, "é" * 300, "\n", '"', "\\", "\0", "y" * 20_000, "/"]),
            max_size=6,
        )
    )
    @settings(max_examples=100, deadline=None)
    def test_long_strings_with_any_escapes_among_short_ones(
        self, codec: Codec, parts: list[str]
    ) -> None:
        document = ["".join(parts), "z" * 3000, {"a": "b", "".join(parts): parts}]
        value = codec.decode(json.dumps(document, ensure_ascii=False))
        assert same(codec.to_python(value), as_bytes(document))
        assert json.loads(codec.call("json_encode", value)) == document

    def test_many_distinct_keys_overflow_the_caches_without_harm(self, codec: Codec) -> None:
        document = [{f"key {n}": n, "é": {f"ключ {n}": "x"}} for n in range(3000)]
        value = codec.decode(json.dumps(document))
        assert json.loads(codec.call("json_encode", value)) == document


class TestJsonEncode:
    @pytest.mark.parametrize(
        ("expression", "text"),
        [
            ("nil", "null"),
            ("null", "null"),
            ("{}", "[]"),
            ("{1, null, 3}", "[1,null,3]"),
            ("{a = null}", '{"a":null}'),
            ("1", "1"),
            ("1.0", "1.0"),
            ("-0.0", "-0.0"),
            ("1e15", "1e+15"),
            ("2^53", "9007199254740992.0"),
            ("math.mininteger", "-9223372036854775808"),
            ("{0/0, 1/0, -1/0}", "[null,null,null]"),
            ("{true, false}", "[true,false]"),
            ('"/\\127"', '"/\x7f"'),
            (r'"\"\\\b\f\n\r\t\0\31"', r'"\"\\\b\f\n\r\t\u0000\u001f"'),
            (r'"\u{1F600}\u{E9}"', '"\U0001f600\u00e9"'),
            ('{[""] = 1}', '{"":1}'),
            (r'{["\n"] = 1}', r'{"\n":1}'),
        ],
    )
    def test_writes(self, codec: Codec, expression: str, text: str) -> None:
        assert codec.encode(expression).decode() == text

    def test_a_sequence_built_backwards_keeps_its_order(self, codec: Codec) -> None:
        table = codec.table(
            "(function() local t = {} for i = 9, 1, -1 do t[i] = i end return t end)()"
        )
        assert json.loads(codec.call("json_encode", table)) == list(range(1, 10))

    def test_a_table_that_shrank_is_still_a_sequence(self, codec: Codec) -> None:
        table = codec.table(
            "(function() local t = {1, 2, 3, 4} t[4], t[3] = nil, nil return t end)()"
        )
        assert codec.call("json_encode", table) == b"[1,2]"

    @pytest.mark.parametrize(
        ("expression", "message"),
        [
            ("{1, nil, 3}", "sparse array"),
            ("{[0] = 1}", "sparse array"),
            ("{[-1] = 1, [1] = 1}", "sparse array"),
            ("{1, a = 2}", "table has mixed keys: integers and others"),
            ("{[1.5] = 1}", "table has mixed keys: integers and others"),
            ("{[true] = 1}", "table has mixed keys: integers and others"),
            ("print", "a function cannot be encoded"),
            ("{a = {1, {b = print}}}", "a function cannot be encoded at value.a[2].b"),
            ("{['a b'] = print}", "a function cannot be encoded at value[?]"),
            ("{coroutine.create(print)}", "a thread cannot be encoded at value[1]"),
        ],
    )
    def test_refuses(self, codec: Codec, expression: str, message: str) -> None:
        assert codec.failure(codec.encode(expression)) == (message, "internal")

    def test_mixed_keys_are_refused_whichever_comes_first(self, codec: Codec) -> None:
        for expression in ("{a = 1, [7] = 2}", "{a = 1, b = 2, c = 3, [1] = 4}"):
            message, _ = codec.failure(codec.encode(expression))
            assert message.startswith("table has mixed keys")

    @pytest.mark.parametrize(
        "value", [r'"\xFF"', r'"\xC0\x80"', r'"\xED\xA0\x80"', r'"ab\xE2\x82"']
    )
    def test_a_string_that_is_not_utf8_is_invalid(self, codec: Codec, value: str) -> None:
        in_table = codec.failure(codec.encode(f"{{x = {{{value}}}}}"))
        assert in_table == ("string is not UTF-8 at value.x[1]", "invalid")
        as_key = codec.failure(codec.encode(f"{{[{value}] = 1}}"))
        assert as_key == ("string is not UTF-8 at value[?]", "invalid")

    def test_128_levels_are_the_limit(self, codec: Codec) -> None:
        nest = "(function(n) local t = 1 for _ = 1, n do t = {t} end return t end)(%d)"
        assert codec.encode(nest % 128) == b"[" * 128 + b"1" + b"]" * 128
        message, kind = codec.failure(codec.encode(nest % 129))
        assert message.startswith("nesting is deeper than 128 levels")
        assert kind == "internal"

    @pytest.mark.parametrize("form", ["json", "msgpack"])
    def test_a_recursive_table_is_found_before_much_is_repeated(
        self, codec: Codec, form: str
    ) -> None:
        cycle = (
            "(function() local t = {} for i = 1, 999 do t[i] = i end t[1000] = {t} return t end)()"
        )
        codec.charges.clear()
        message, kind = codec.failure(codec.encode(cycle, form))
        assert message.startswith("recursive table")
        assert kind == "internal"
        assert sum(codec.charges) < 20_000

    def test_a_table_met_twice_is_not_recursive(self, codec: Codec) -> None:
        nest = (
            "(function() local s = {1} local t = s for _ = 1, 20 do t = {t, s} end return t end)()"
        )
        assert codec.encode(nest).count(b"[1]") == 21

    @pytest.mark.parametrize("form", ["json", "msgpack"])
    def test_no_metamethod_is_called(self, codec: Codec, form: str) -> None:
        hostile = """setmetatable({1, 2, x}, setmetatable({}, {__index = function()
            return function() error("called") end end}))"""
        named = """(function()
            local function trap() error("called") end
            local mt = {__index = trap, __len = trap, __pairs = trap, __eq = trap,
                        __tostring = trap, __name = "x", __call = trap, __lt = trap,
                        __concat = trap, __close = trap}
            return {setmetatable({}, mt), setmetatable({2, 1}, mt), setmetatable({a = 1}, mt),
                    setmetatable({[2] = 1, [1] = 2}, mt)}
        end)()"""
        assert codec.encode(hostile, form) is not None
        expected = [[], [2, 1], {"a": 1}, [2, 1]]
        module: Any = msgspec.json if form == "json" else msgspec.msgpack
        assert module.decode(codec.encode(named, form)) == expected

    def test_floats_have_a_point_whatever_the_locale(self) -> None:
        codec = Codec(
            b"""local format = string.format
            function string.format(...) return (format(...):gsub("%.", ",")) end"""
        )
        assert codec.encode("{1.5, -2^70, 3.0}") == b"[1.5,-1.1805916207174113e+21,3.0]"


class TestEmptyObjects:
    def test_a_decoded_empty_object_is_written_as_one(self, codec: Codec) -> None:
        value = codec.decode('{"a": {}, "b": [], "c": { }, "d": [ ], "e": {"x": null}}')
        assert json.loads(codec.call("json_encode", value)) == {
            "a": {},
            "b": [],
            "c": {},
            "d": [],
            "e": {},
        }
        packed = codec.call("msgpack_encode", value)
        assert msgspec.msgpack.decode(packed) == {"a": {}, "b": [], "c": {}, "d": [], "e": {}}

    def test_it_carries_no_metatable_and_becomes_what_is_put_in(self, codec: Codec) -> None:
        fill = codec.lua.eval("function(t) assert(getmetatable(t) == nil) t[1] = 5 return t end")
        assert codec.call("json_encode", fill(codec.decode("{}"))) == b"[5]"

    def test_it_is_not_kept_alive(self, codec: Codec) -> None:
        count = codec.lua.eval(
            """function(decode)
                local seen = setmetatable({}, {__mode = "k"})
                for _ = 1, 50 do seen[decode("{}")] = true end
                collectgarbage() collectgarbage()
                local n = 0 for _ in pairs(seen) do n = n + 1 end return n
            end"""
        )
        assert count(codec.module[b"json_decode"]) == 0

    def test_is_object_tells_objects_from_arrays(self, codec: Codec) -> None:
        assert codec.call("is_object", codec.decode("{}"))
        assert codec.call("is_object", codec.decode('{"a":1}'))
        for other in ("{}", "{1}", "null", "5", "nil", "'x'"):
            assert not codec.call("is_object", codec.table(other))


class TestNull:
    def test_it_cannot_be_changed_or_looked_into(self, codec: Codec) -> None:
        probe = codec.lua.eval(
            """function(null)
                local written, message = pcall(function() null.x = 1 end)
                return tostring(null), getmetatable(null), written, message, null.x,
                       (pcall(setmetatable, null, {}))
            end"""
        )
        text, metatable, written, message, member, replaced = probe(codec.null)
        assert (text, metatable, written, member, replaced) == (b"null", False, False, None, False)
        assert b"read-only" in message

    def test_it_holds_positions_in_arrays_only(self, codec: Codec) -> None:
        value = codec.decode('[null, {"a": null, "b": 1}, [null]]')
        assert codec.identical(value[1], codec.null)
        assert list(value[2]) == [b"b"]
        assert codec.identical(value[3][1], codec.null)

    def test_a_later_null_removes_an_earlier_member(self, codec: Codec) -> None:
        assert codec.to_python(codec.decode('{"a":1,"a":null}')) == {}

    def test_alone_it_is_nil_and_no_error(self, codec: Codec) -> None:
        assert codec.decode("null") is None
        assert codec.decode(" null ") is None
        assert codec.call("msgpack_decode", b"\xc0") is None


class TestJsonDecode:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("0", 0),
            ("-0", 0),
            ("-0.0", -0.0),
            ("10", 10),
            ("-10", -10),
            ("1.0", 1.0),
            ("1e2", 100.0),
            ("1E+2", 100.0),
            ("1.5e-2", 0.015),
            ("0e0", 0.0),
            ("0.5", 0.5),
            ("9223372036854775807", 2**63 - 1),
            ("-9223372036854775808", -(2**63)),
            ("9223372036854775808", 2.0**63),
            ("123456789012345678901234567890", 123456789012345678901234567890.0),
            (r'"\ud83d\ude00\u00e9\u0000"', "\U0001f600\u00e9\0".encode()),
            (r'"\"\\\/\b\f\n\r\t"', b'"\\/\b\f\n\r\t'),
            ('"\x7f/"', b"\x7f/"),
            (" \t\r\n[ \t\r\n1 \t\r\n, \t\r\n2 \t\r\n] \t\r\n", [1, 2]),
            (r'{"a\"b":1,"\u0061":2}', {b'a"b': 1, b"a": 2}),
            ('{"":{"":[]}}', {b"": {b"": []}}),
            ("[0,1,-2,3,4,5,6,7.5,8.25,-9.5,10.5,1e3,0,true]",
             [0, 1, -2, 3, 4, 5, 6, 7.5, 8.25, -9.5, 10.5, 1000.0, 0, True]),
        ],
    )  # fmt: skip
    def test_reads(self, codec: Codec, text: str, value: object) -> None:
        assert same(codec.to_python(codec.decode(text)), value)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (" ", "expected a value at line 1 column 2"),
            ("nul", "expected a value at line 1 column 1"),
            ("[1,]", "expected a value at line 1 column 4"),
            ("[,1]", "expected a value at line 1 column 2"),
            ("[1 2]", "expected ',' or ']' at line 1 column 4"),
            ("[1", "expected ',' or ']' at line 1 column 3"),
            ('{"a":1,}', "expected a key at line 1 column 8"),
            ('{"a":1 "b":2}', "expected ',' or '}' at line 1 column 8"),
            ('{"a" 1}', "expected ':' at line 1 column 6"),
            ('{"a":}', "expected a value at line 1 column 6"),
            ('{"a":', "expected a value at line 1 column 6"),
            ("{a:1}", "expected a key or '}' at line 1 column 2"),
            ("{1:1}", "expected a key or '}' at line 1 column 2"),
            ("{", "expected a key or '}' at line 1 column 2"),
            ("[\n1,\n  x]", "expected a value at line 3 column 3"),
            ("01", "bad number at line 1 column 1"),
            ("-", "bad number at line 1 column 1"),
            ("-01", "bad number at line 1 column 1"),
            ("1.", "bad number at line 1 column 1"),
            ("1.e5", "bad number at line 1 column 1"),
            ("1e", "bad number at line 1 column 1"),
            ("1e400", "number is out of range at line 1 column 1"),
            (".5", "expected a value at line 1 column 1"),
            ("+1", "expected a value at line 1 column 1"),
            ("NaN", "expected a value at line 1 column 1"),
            ("1 // x", "text goes on after its value at line 1 column 3"),
            ("true false", "text goes on after its value at line 1 column 6"),
            ("truex", "text goes on after its value at line 1 column 5"),
            ('"a', "string without an end at line 1 column 3"),
            ('"a\nb"', "control character in a string at line 1 column 3"),
            ('{"a\tb":1}', "control character in a string at line 1 column 4"),
            (r'"\x"', "bad escape at line 1 column 2"),
            (r'"\u12g4"', "expected four hexadecimal digits at line 1 column 4"),
            (r'"\ud800"', "half a surrogate pair at line 1 column 2"),
            (r'"\udc00\ud800"', "half a surrogate pair at line 1 column 2"),
            (r'"\ud800\u0041"', "half a surrogate pair at line 1 column 2"),
            (b'"\xff"', "text is not UTF-8 at line 1 column 2"),
            (b"\xef\xbb\xbf[]", "text begins with a byte order mark at line 1 column 1"),
            ("[1,\v2]", "expected a value at line 1 column 4"),
            ("\xa01", "expected a value at line 1 column 1"),
            ("[1,2,3,4,05]", "bad number at line 1 column 10"),
            ("[1,2,3,4,5", "expected ',' or ']' at line 1 column 11"),
            ("[1.5,2.5,3.5,4.5,5.]", "bad number at line 1 column 18"),
        ],
    )
    def test_refuses(self, codec: Codec, text: str | bytes, message: str) -> None:
        assert codec.failure(codec.decode(text)) == (message, "internal")

    def test_no_text_is_invalid(self, codec: Codec) -> None:
        assert codec.failure(codec.decode("")) == ("JSON is empty", "invalid")
        result = codec.failure(codec.call("json_decode", 5))
        assert result == ("JSON must be a string, not number", "invalid")

    @pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ("[ ", " ]")])
    def test_128_levels_are_the_limit(self, codec: Codec, opening: str, closing: str) -> None:
        def nested(levels: int) -> str:
            return opening * levels + "1" + closing * levels

        assert lua_type(codec.decode(nested(128))) == "table"
        for text in (nested(129), opening * 100_000):
            message, kind = codec.failure(codec.decode(text))
            assert message.startswith("nesting is deeper than 128 levels")
            assert kind == "internal"
