"""Bodies that programs publish: written so that a handler can read them, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.lua.vms import failure_of, make_vm
from wippy_lua.call import Call
from wippy_lua.errors import Kind, WippyError
from wippy_lua.queue.codec import MAX_DEPTH, body_kind, encode, pack
from wippy_lua.queue.config import Codec
from wippy_lua.queue.settle import Success

CODECS: list[Codec] = ["json/plain", "application/msgpack"]


def nested(levels: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"a": value}])
@pytest.mark.parametrize("codec", CODECS)
def test_the_deepest_value_that_is_written_is_the_deepest_that_a_handler_reads(
    codec: Codec, wrap: Callable[[Any], Any]
) -> None:
    body, content_type = encode(nested(MAX_DEPTH, wrap), codec)
    vm = make_vm("return function(body) return type(body) == 'table' end")
    assert isinstance(vm.handle(Call("app:f"), body_kind(content_type), body), Success)
    with pytest.raises(WippyError, match="nesting is deeper than 128 levels") as caught:
        encode(nested(MAX_DEPTH + 1, wrap), codec)
    assert caught.value.kind is Kind.INVALID


@pytest.mark.parametrize("key", [1.5, float("inf"), True, None, 2**63, -(2**63) - 1, (1, 2)])
def test_a_key_that_no_handler_reads_is_refused_wherever_it_is(key: object) -> None:
    for value in ({key: 1}, [{"a": ({key: 1},)}]):
        with pytest.raises(WippyError, match="key") as caught:
            encode(value, "application/msgpack")
        assert caught.value.kind is Kind.INVALID


@pytest.mark.parametrize("key", ["a", b"a", 1, 2**63 - 1, -(2**63)])
def test_other_keys_are_read(key: object) -> None:
    vm = make_vm("return function(body) assert(next(body) ~= nil) end")
    assert isinstance(vm.handle(Call("app:f"), 2, pack({key: 1})), Success)


def test_what_others_wrote_with_such_a_key_is_not_read() -> None:
    vm = make_vm("return function(body) end")
    failure = failure_of(vm.handle(Call("app:f"), 2, b"\x81\xca\x3f\xc0\x00\x00\x01"))
    assert "a map key must be a string or an integer of 64 bits" in failure.error.message


def test_json_writes_numbers_as_keys_of_text() -> None:
    assert encode({1.5: "x"}, "json/plain") == (b'{"1.5":"x"}', "application/json")
