"""Bodies as operators see them and write them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.operations.sites import letter
from wippy_lua.errors import Kind, WippyError
from wippy_lua.operations.stored import published_data, revived, stored_message
from wippy_lua.operations.values import Publication
from wippy_lua.queue.message import BINARY, JSON, MSGPACK, TEXT, Message


@pytest.mark.parametrize(
    ("body", "content_type", "shown", "encoding"),
    [
        (b'{"a": [1, 2.5, null]}', JSON, {"a": [1, 2.5, None]}, "json"),
        (b'{"a": 1}', "application/vnd.app+json; charset=utf-8", {"a": 1}, "json"),
        (msgspec.msgpack.encode({"a": [1, True]}), MSGPACK, {"a": [1, True]}, "json"),
        (msgspec.msgpack.encode({"raw": b"\xff"}), MSGPACK, {"raw": "/w=="}, "json"),
        (b"{broken", JSON, "{broken", "text"),
        (b"[" * 100_000, JSON, "[" * 100_000, "text"),
        (b"\xc1\xff", MSGPACK, "wf8=", "base64"),
        ("schön".encode(), TEXT, "schön", "text"),
        (b"\x00\xff", BINARY, "AP8=", "base64"),
        (b"", TEXT, "", "text"),
    ],
)
def test_a_body_is_shown_in_the_form_that_says_most(
    body: bytes, content_type: str, shown: Any, encoding: str
) -> None:
    stored = stored_message(Message("m", body, content_type, {}, 0.0))
    assert (stored.body, stored.encoding, stored.size) == (shown, encoding, len(body))
    assert msgspec.json.decode(msgspec.json.encode(stored))["body"] == shown


def test_a_dead_letter_says_why_it_died() -> None:
    death = stored_message(letter("x")).death
    assert death is not None
    assert (death.original_queue, death.attempts, death.error_kind) == ("app:tasks", 3, "Timeout")
    assert stored_message(letter("x", None)).death is None


def test_headers_of_another_sort_than_ours_are_not_taken_for_facts() -> None:
    odd = msgspec.structs.replace(
        letter("x"), headers={"x_original_queue": "app:a", "x_attempts": "three", "x_error": 5}
    )
    death = stored_message(odd).death
    assert death is not None
    assert (death.attempts, death.error, death.reason) == (None, None, None)


def test_a_revived_letter_has_only_what_its_publisher_gave() -> None:
    assert revived(letter("x", priority=1)).headers == {"priority": 1}


@pytest.mark.parametrize(
    ("publication", "data"),
    [
        (Publication({"a": 1}), {"a": 1}),
        (Publication("x", "text"), "x"),
        (Publication("AP8=", "base64"), b"\x00\xff"),
    ],
)
def test_what_is_published_has_an_encoding(publication: Publication, data: object) -> None:
    assert published_data(publication) == data


@pytest.mark.parametrize("publication", [Publication(1, "text"), Publication("?", "base64")])
def test_a_body_that_is_not_in_its_encoding_is_invalid(publication: Publication) -> None:
    with pytest.raises(WippyError) as caught:
        published_data(publication)
    assert caught.value.kind is Kind.INVALID
