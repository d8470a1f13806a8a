"""The codecs against Python's json and msgspec, on good input, bad input and large input."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lupa.lua54 import LuaRuntime, lua_type

from wippy_lua import lua as lua_package

SOURCES = files(lua_package)
PARTS = ("work", "json_encode", "json_decode", "msgpack_encode", "msgpack_decode")
LIMIT = 1.0  # seconds that one case of bad input may take


class Codec:
    """The codec in a VM of its own; `charges` holds what each call of `spend` was given."""

    def __init__(self, prelude: bytes = b"") -> None:
        self.lua: Any = LuaRuntime(encoding=None, register_eval=False, unpack_returned_tuples=True)
        self.lua.execute(prelude)
        self.charges: list[int] = []
        self.on_spend: Callable[[], None] = lambda: None
        parts = {name.encode(): self._compile(f"codec/{name}.lua") for name in PARTS}
        chunk = self._compile("codec.lua")
        self.module = chunk(self._spend, self.lua.table_from(parts))
        self.null = self.module[b"null"]
        self.identical = self.lua.eval("rawequal")

    def _compile(self, path: str) -> Any:
        return self.lua.compile(SOURCES.joinpath(path).read_bytes(), name=path.encode())

    def _spend(self, units: int) -> None:
        self.charges.append(units)
        self.on_spend()

    def call(self, function: str, *arguments: object) -> Any:
        return self.module[function.encode()](*arguments)

    def table(self, expression: str) -> Any:
        """Returns the value of a Lua expression; `null` is the codec's."""
        return self.lua.execute(f"local null = ...; return {expression}".encode(), self.null)

    def encode(self, expression: str, form: str = "json") -> Any:
        return self.call(f"{form}_encode", self.table(expression))

    def decode(self, text: str | bytes) -> Any:
        return self.call("json_decode", text.encode() if isinstance(text, str) else text)

    def failure(self, result: Any) -> tuple[str, str]:
        """Returns message and kind of a result that must be a failure."""
        assert isinstance(result, tuple), result
        value, message, kind = result
        assert value is None
        return message.decode(), kind.decode()

    def to_python(self, value: Any) -> Any:
        """Turns a decoded value into Python's: strings are bytes, an empty object is a dict."""
        if lua_type(value) != "table":
            return value
        if self.identical(value, self.null):
            return None
        if self.call("is_object", value) or set(value) != set(range(1, len(value) + 1)):
            return {key: self.to_python(item) for key, item in value.items()}
        return [self.to_python(value[index]) for index in range(1, len(value) + 1)]


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec()


def as_bytes(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, list):
        return [as_bytes(item) for item in value]
    if isinstance(value, dict):
        return {as_bytes(key): as_bytes(item) for key, item in value.items()}
    return value


def without_null_members(value: Any) -> Any:
    """What Lua can hold of a value: a member that is null is absent."""
    if isinstance(value, list):
        return [without_null_members(item) for item in value]
    if isinstance(value, dict):
        return {k: without_null_members(v) for k, v in value.items() if v is not None}
    return value


def same(left: Any, right: Any) -> bool:
    """Compares values and their types: 1, 1.0 and True are three values."""
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    return type(left) is type(right) and bool(left == right)


INTEGERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
SCALARS = st.none() | st.booleans() | INTEGERS | FLOATS | TEXT


def documents(scalars: st.SearchStrategy[Any], keys: st.SearchStrategy[Any]) -> Any:
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=6) | st.dictionaries(keys, inner, max_size=6),
        max_leaves=25,
    )


JSON_DOCUMENTS = documents(SCALARS, TEXT)
MSGPACK_DOCUMENTS = documents(SCALARS | st.binary(max_size=300), TEXT | INTEGERS)


def normalised(value: Any) -> Any:
    """What a MessagePack value is after Lua: UTF-8 bytes are text, keys 1 to n make a list."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    if isinstance(value, list):
        return [normalised(item) for item in value]
    if isinstance(value, dict):
        members = {normalised(k): normalised(v) for k, v in value.items() if v is not None}
        if members and members.keys() == set(range(1, len(members) + 1)):
            return [members[index] for index in range(1, len(members) + 1)]
        return members
    return value


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
            local mt = {__index = trap, __len = trap, __pairs = trap, __eq = trap, __tostring = trap,
                        __name = "x", __call = trap, __lt = trap, __concat = trap, __close = trap}
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
            ("[1 2]", "expected ',' or ']' at line 1 column 3"),
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
        gaps = sorted(later - earlier for earlier, later in zip(marks, marks[1:], strict=False))
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
        for call in (
            lambda: codec.encode("{1}", form),
            lambda: codec.encode("{print}", form),
            lambda: codec.call(f"{form}_decode", b"1"),
            lambda: codec.call(f"{form}_decode", b"\xc1"),
        ):
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
