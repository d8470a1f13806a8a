"""What the SQS driver writes, reads, and refuses, without a broker."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.host.apps import write_app
from wippy_lua.clock import SystemClock
from wippy_lua.errors import ConfigError, Kind, WippyError
from wippy_lua.log import NullLog
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.drivers import make_driver
from wippy_lua.queue.drivers.sqs import wire
from wippy_lua.queue.drivers.sqs.declare import attributes_of
from wippy_lua.queue.drivers.sqs.driver import SqsDriver
from wippy_lua.queue.drivers.sqs.wire import Stored
from wippy_lua.queue.message import TEXT, Header, Message
from wippy_lua.registry.loader import load_folder

HEADERS = st.dictionaries(
    st.text(st.characters(codec="utf-8"), min_size=1),
    st.text(st.characters(codec="utf-8"))
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False),
)


def raw_of(stored: Stored) -> dict[str, Any]:
    text, attributes = wire.write(stored)
    return {
        "MessageId": "sqs-1",
        "Body": text,
        "MessageAttributes": attributes,
        "Attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1700000000250"},
    }


def message(body: bytes = b"m", **headers: Header) -> Message:
    return Message("id-1", body, TEXT, headers, 1_700_000_000.25)


@given(st.binary() | st.text(st.characters(codec="utf-8")).map(str.encode), HEADERS)
def test_every_body_and_header_comes_back_as_it_was(
    body: bytes, headers: dict[str, Header]
) -> None:
    stored = Stored(Message("id", body, "a/b", headers, 12.5), 3, 99.5, 101.25)
    back = wire.read(raw_of(stored))
    assert back == stored
    assert [type(v) for v in back.message.headers.values()] == [type(v) for v in headers.values()]


@given(st.binary() | st.text(st.characters(codec="utf-8")).map(str.encode), HEADERS)
def test_what_is_written_has_no_character_that_sqs_refuses(
    body: bytes, headers: dict[str, Header]
) -> None:
    text, attributes = wire.write(Stored(Message("id", body, TEXT, headers, 1.0)))
    assert text
    assert not wire._FORBIDDEN.search(text)
    assert attributes["wippy"]["StringValue"].isascii()


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_numbers_that_json_has_not_are_kept(value: float) -> None:
    back = wire.read(raw_of(Stored(message(n=value)))).message.headers["n"]
    assert isinstance(back, float)
    assert back == value or (isnan(back) and isnan(value))


@pytest.mark.parametrize("body", [b"\x07", "\ufffe".encode(), b"\0"])
def test_text_that_sqs_refuses_travels_as_base64(body: bytes) -> None:
    text, attributes = wire.write(Stored(message(body)))
    assert text.isascii()
    assert json.loads(attributes["wippy"]["StringValue"])["encoding"] == "base64"


def test_plain_text_travels_readable() -> None:
    assert wire.write(Stored(message("grüße\r\n\t".encode())))[0] == "grüße\r\n\t"


def foreign(**attributes: dict[str, object]) -> dict[str, Any]:
    return {
        "MessageId": "sqs-1",
        "Body": '{"a": 1}',
        "MessageAttributes": attributes,
        "Attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1700000000250"},
    }


def test_attributes_of_another_program_become_headers() -> None:
    stored = wire.read(
        foreign(
            content_type={"DataType": "String", "StringValue": "application/json"},
            count={"DataType": "Number", "StringValue": "3"},
            share={"DataType": "Number.float", "StringValue": "0.5"},
            odd={"DataType": "Number", "StringValue": "1.2.3"},
            seal={"DataType": "Binary", "BinaryValue": b"\x00\xff"},
        )
    )
    assert stored.message == Message(
        "sqs-1",
        b'{"a": 1}',
        "application/json",
        {
            "content_type": "application/json",
            "count": 3,
            "share": 0.5,
            "odd": "1.2.3",
            "seal": "AP8=",
        },
        1_700_000_000.25,
    )


def test_a_message_without_attributes_is_text() -> None:
    raw = foreign()
    del raw["MessageAttributes"]
    assert wire.read(raw).message.content_type == TEXT


@pytest.mark.parametrize("value", ["", "hello", "[1]", '{"v": 1}', '{"v": "1"}', '{"v": true}'])
def test_an_attribute_that_only_has_our_name_is_a_header(value: str) -> None:
    stored = wire.read(foreign(wippy={"DataType": "String", "StringValue": value}))
    assert stored.message.headers == {"wippy": value}


def test_a_body_that_somebody_spoilt_arrives_as_it_is() -> None:
    raw = raw_of(Stored(message(b"\xff")))
    assert wire.read({**raw, "Body": "ä not base64"}).message.body == "ä not base64".encode()


def test_a_service_that_tells_less_than_sqs_is_read_all_the_same() -> None:
    raw = {"MessageId": "1", "Body": "b", "ReceiptHandle": "r"}
    assert (wire.read(raw).message.body, wire.receive_count(raw)) == (b"b", 1)


def test_a_later_format_is_not_guessed_at() -> None:
    with pytest.raises(wire.NewerFormatError, match="2"):
        wire.read(foreign(wippy={"DataType": "String", "StringValue": '{"v": 2, "z": 1}'}))


def config(name: str = "q", options: Mapping[str, object] = {}) -> QueueConfig:
    return QueueConfig("app:q", "app:sqs", name, options=options)


def test_options_become_attributes() -> None:
    options: dict[str, object] = {"message_retention": "1h", "maximum_message_size": "256KiB"}
    assert attributes_of(config("q", options)) == {
        "MessageRetentionPeriod": "3600",
        "MaximumMessageSize": "262144",
    }


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"message_retension": 60}, "did you mean 'message_retention'"),
        ({"max_length": 5}, "cannot bound a queue's length"),
        ({"message_retention": "15d"}, "duration"),
        ({"message_retention": 59}, "between 60 and 1209600"),
        ({"maximum_message_size": "2MiB"}, "between 1024 and 1048576"),
        ({"kms_master_key_id": ""}, "not empty"),
        ({"content_based_deduplication": True}, "is for FIFO queues"),
    ],
)
def test_an_option_that_is_wrong_is_explained(options: dict[str, object], says: str) -> None:
    with pytest.raises(WippyError, match=says) as caught:
        attributes_of(config("q", options))
    assert caught.value.kind is Kind.INVALID


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"content_based_deduplication": "yes"}, "true or false"),
        ({"deduplication_scope": "group"}, "one of queue, messageGroup"),
    ],
)
def test_options_of_fifo_queues_are_checked(options: dict[str, object], says: str) -> None:
    with pytest.raises(WippyError, match=says):
        attributes_of(config("q.fifo", options))


@pytest.mark.parametrize("name", ["a.b", "ä", "x" * 81, ".fifo", ""])
def test_a_name_that_sqs_does_not_take_is_refused_before_it_is_asked(name: str) -> None:
    with pytest.raises(WippyError, match="up to 80 letters") as caught:
        attributes_of(config(name))
    assert caught.value.kind is Kind.INVALID


def driver_of(folder: Path, fields: str, env: dict[str, str] | None = None) -> SqsDriver:
    write_app(folder, fields)
    registry = load_folder(folder, env=env or {})
    entry = registry.with_named(registry.find("queue.driver")[0])
    driver = make_driver(entry, SystemClock(), NullLog())
    assert isinstance(driver, SqsDriver)
    return driver


def test_an_entry_and_its_config_make_the_settings(tmp_path: Path) -> None:
    env = {"SECRET": "s3"}
    driver = driver_of(
        tmp_path,
        """
  - name: aws
    kind: config.aws
    region: eu-west-1
    access_key_id: key
    secret_access_key: ${env:SECRET}
  - name: sqs
    kind: queue.driver.sqs
    config: aws
    endpoint: http://127.0.0.1:1
    visibility_timeout: 1500ms
    wait_time: 500ms
""",
        env,
    )
    settings = driver._settings
    assert (settings.region, settings.access_key_id) == ("eu-west-1", "key")
    assert settings.secret_access_key == env["SECRET"]
    assert (settings.visibility_timeout, settings.wait_time) == (2, 1)


def test_half_a_key_is_a_problem_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"_index.yaml:\d+.*go together"):
        driver_of(
            tmp_path,
            """
  - {name: aws, kind: config.aws, access_key_id: key}
  - {name: sqs, kind: queue.driver.sqs, config: aws}
""",
        )


def test_without_its_extra_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wippy_lua.queue.drivers.sqs.entry.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=r'app:sqs: .*pip install "wippy-lua\[sqs\]"$') as caught:
        driver_of(tmp_path, "  - {name: sqs, kind: queue.driver.sqs}\n")
    assert len(caught.value.problems) == 1
