"""JSON in a handler, by size, beside msgspec with lupa's conversion of tables.

For encoding, lupa has no conversion of its own: the floor walks the table in Python.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import msgspec
from lupa import lua54

from tests.benchmarks.app import body_of, function, host_of
from tests.benchmarks.brokers import Brokers
from tests.benchmarks.cases import Case, Scale, at_least

#: Name, items in the body, documents at a time, and what the earlier codec of this project's spike
#: reached of msgspec's rate: decode, then encode.
SIZES = (("100 B", 0, 10_000), ("2 KB", 36, 1000), ("100 KB", 1900, 20))
DECODE = """
local json = require("json")
return function(text, count)
  for _ = 1, count do json.decode(text) end
end
"""
ENCODE = """
local json = require("json")
return function(text, count)
  local value = json.decode(text)
  for _ = 1, count do json.encode(value) end
end
"""


@contextmanager
def cases(scale: Scale, _brokers: Brokers) -> Iterator[list[Case]]:
    """Gives the cases; nothing has to be started."""
    yield [
        Case(
            f"json {what}, {size}",
            partial(_ours, source, _document(items), scale.of(count, least=2)),
            partial(bare, _document(items), scale.of(count, least=2)),
            unit="documents/s",
            goals={"": at_least(0.5)},
        )
        for size, items, count in SIZES
        for what, source, bare in (("decode", DECODE, _decode), ("encode", ENCODE, _encode))
    ]


def _document(items: int) -> bytes:
    return msgspec.json.encode(body_of(7, items))


def _ours(source: str, document: bytes, count: int) -> dict[str, float]:
    with host_of(function("work", source, "json")) as host:
        text = document.decode()
        return _rate(lambda: host.call("bench:work", text, count), count)


def _decode(document: bytes, count: int) -> dict[str, float]:
    lua: Any = lua54.LuaRuntime()
    decode, table_from = msgspec.json.decode, lua.table_from

    def work() -> None:
        for _ in range(count):
            table_from(decode(document), recursive=True)

    return _rate(work, count)


def _encode(document: bytes, count: int) -> dict[str, float]:
    lua: Any = lua54.LuaRuntime()
    table = lua.table_from(msgspec.json.decode(document), recursive=True)

    def work() -> None:
        for _ in range(count):
            msgspec.json.encode(_from_table(table))

    return _rate(work, count)


def _from_table(value: Any) -> object:
    if lua54.lua_type(value) != "table":
        return value
    if 1 in value:
        return [_from_table(item) for item in value.values()]
    return {key: _from_table(item) for key, item in value.items()}


def _rate(work: Callable[[], object], count: int) -> dict[str, float]:
    work()
    begin = time.perf_counter()
    work()
    return {"": count / (time.perf_counter() - begin)}
