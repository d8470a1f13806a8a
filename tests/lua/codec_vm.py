"""A VM with the codec in it, and what its tests share: comparisons and generated documents."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from hypothesis import strategies as st
from lupa.lua54 import LuaRuntime, lua_type

from wippy_lua import lua as lua_package

SOURCES = files(lua_package) / "vm"


class Codec:
    """The codec in a VM of its own; `charges` holds what each call of `spend` was given."""

    def __init__(self, prelude: bytes = b"") -> None:
        self.lua: Any = LuaRuntime(encoding=None, register_eval=False, unpack_returned_tuples=True)
        self.lua.execute(prelude)
        self.charges: list[int] = []
        self.on_spend: Callable[[], None] = lambda: None
        self.module = self._compile("codec.lua")(self._part, self._part(b"later"), self._spend)
        self.null = self.module[b"null"]
        self.identical = self.lua.eval("rawequal")

    def _compile(self, path: str) -> Any:
        return self.lua.compile(SOURCES.joinpath(path).read_bytes(), name=path.encode())

    def _part(self, name: bytes, *arguments: object) -> Any:
        return self._compile(f"{name.decode()}.lua")(*arguments)

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
