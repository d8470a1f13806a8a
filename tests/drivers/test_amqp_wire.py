"""The AMQP codec, and the arithmetic of acks, without a broker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pika.spec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wippy_lua.errors import Kind, WippyError
from wippy_lua.queue.drivers.amqp import wire
from wippy_lua.queue.drivers.amqp.message import (
    EXPIRES,
    PUBLISHED,
    attempt_of,
    copy_properties,
    encode_header,
    expiry_of,
    first_header,
    to_message,
    to_properties,
)
from wippy_lua.queue.drivers.amqp.queues import LADDER, step_for
from wippy_lua.queue.drivers.amqp.settings import Settings
from wippy_lua.queue.drivers.amqp.settlements import Settlements
from wippy_lua.queue.drivers.amqp.wire import Properties, Raw
from wippy_lua.queue.message import Header, Message
from wippy_lua.registry.kinds import AmqpDriverSpec

HEADERS = st.dictionaries(
    st.text(max_size=40).filter(lambda key: not key.startswith(("x_", "x-"))),
    st.one_of(
        st.text(max_size=40),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
    ),
    max_size=8,
)


def typed(table: Mapping[str, object]) -> dict[str, tuple[type, object]]:
    return {key: (type(value), value) for key, value in table.items()}


@given(HEADERS, st.binary(max_size=50), st.text(max_size=60))
def test_a_message_comes_back_as_it_was(
    headers: dict[str, Header], body: bytes, message_id: str
) -> None:
    message = Message(message_id, body, "text/plain", headers, 1_700_000_000.123)
    payload = encode_header(to_properties(message, None), len(body), 131_072)
    size, properties = wire.decode_content_header(payload)
    read = to_message(properties, body)
    assert size == len(body)
    assert typed(read.headers) == typed(headers)
    assert (read.body, read.content_type, read.published_at) == (
        body,
        "text/plain",
        1_700_000_000.123,
    )
    if message_id:
        assert read.id == message_id


@given(
    st.one_of(st.just({}), HEADERS),
    st.text(max_size=60),
    st.text(max_size=60),
    st.binary(max_size=50),
    st.floats(0, 2**40),
)
def test_the_short_way_to_a_header_writes_what_the_long_one_does(
    headers: dict[str, Header], message_id: str, content_type: str, body: bytes, published: float
) -> None:
    message = Message(message_id, body, content_type, headers, published)
    long = encode_header(to_properties(message, None), len(body), 131_072)
    assert first_header(message, None, None, 131_072) == long


def test_a_first_header_says_when_it_expires() -> None:
    message = Message("m", b"", "text/plain", {}, 1.0)
    _, read = wire.decode_content_header(first_header(message, 9.5, "8501", 131_072))
    assert (read.expiration, expiry_of(read, 1.0)) == ("8501", 9.5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 7, "soon"])
def test_a_date_that_is_none_is_left_aside(value: Any) -> None:
    table = {PUBLISHED: value, EXPIRES: value}
    read = Properties(headers=table, timestamp=5, expiration="2000")
    assert to_message(read, b"").published_at == 5.0
    assert expiry_of(read, 1.0) == 3.0


@pytest.mark.parametrize("length", [0, 1, 4087, 4088, 4089, 10_000])
def test_a_body_travels_in_frames_that_the_broker_takes(length: int) -> None:
    body = bytes(length)
    stream = b"".join(wire.content_frames(7, b"header", body, max_frame=4096))
    first, *rest = wire.FrameReader().feed(stream)
    assert first == (wire.HEADER, 7, b"header")
    assert [frame[:2] for frame in rest] == [(wire.BODY, 7)] * len(rest)
    assert b"".join(payload for _, _, payload in rest) == body
    assert all(len(payload) + wire.FRAME_OVERHEAD <= 4096 for _, _, payload in rest)


def test_another_client_reads_what_we_write() -> None:
    properties = Properties(
        content_type="a/b", headers={"s": "ü", "i": -7, "yes": True}, priority=3, message_id="m"
    )
    payload = wire.content_header(5, properties)
    read = pika.spec.BasicProperties()
    read.decode(payload[12:])
    assert (read.content_type, read.priority, read.message_id) == ("a/b", 3, "m")
    assert read.headers == {"s": "ü", "i": -7, "yes": True}


@given(st.lists(st.binary(max_size=20), max_size=6), st.data())
def test_frames_are_found_however_the_stream_is_cut(
    payloads: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(wire.frame(wire.BODY, n, payload) for n, payload in enumerate(payloads))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reader = wire.FrameReader()
    found: list[tuple[int, int, bytes]] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += reader.feed(stream[start:end])
    assert found == [(wire.BODY, n, payload) for n, payload in enumerate(payloads)]


def test_a_stream_that_is_no_amqp_is_an_error() -> None:
    with pytest.raises(wire.ProtocolError):
        list(wire.FrameReader().feed(b"HTTP/1.1 400 Bad Request\r\n" + bytes(2**16)))
    with pytest.raises(wire.ProtocolError):
        wire.decode_method(b"\x00\x63\x00\x63")
    with pytest.raises(wire.ProtocolError):
        wire.decode_content_header(b"\x00\x3c\x00\x00" + bytes(8) + b"\xff\xfe\x20ab")


def test_methods_are_read_as_they_were_written() -> None:
    frame = wire.method(
        3, "queue.declare", queue="q", durable=True, no_wait=True, arguments={"x": 1}
    )
    name, fields = wire.decode_method(frame[7:-1])
    assert name == "queue.declare"
    assert [key for key, value in fields.items() if value] == [
        "queue",
        "durable",
        "no_wait",
        "arguments",
    ]


def test_values_of_other_types_are_copied_as_they_came() -> None:
    nested = wire.encode_table({"inner": 1})
    table = {"when": Raw(ord("T"), bytes(7) + b"\x09"), "list": Raw(ord("A"), nested)}
    _, properties = wire.decode_content_header(
        wire.content_header(0, Properties(headers=dict(table), type="t"))
    )
    message = to_message(properties, b"")
    copy = copy_properties(properties, message, 1, None)
    assert message.headers == {"when": 9, "message_type": "t"}
    assert copy.headers == {**table, "x_amqp_attempts": 1}
    assert copy.message_id == message.id


@pytest.mark.parametrize(
    ("headers", "message_id"),
    [({"n": 2**63}, "m"), ({"k" * 256: 1}, "m"), ({}, "i" * 256), ({"large": "x" * 200_000}, "m")],
    ids=["integer", "key", "id", "frame"],
)
def test_what_amqp_cannot_carry_is_invalid(headers: dict[str, Header], message_id: str) -> None:
    message = Message(message_id, b"", "text/plain", headers, 0.0)
    with pytest.raises(WippyError, match="AMQP cannot carry") as caught:
        first_header(message, None, None, 131_072)
    assert caught.value.kind is Kind.INVALID


@pytest.mark.parametrize(
    ("table", "redelivered", "attempt"),
    [
        (None, False, 1),
        (None, True, 2),
        ({"x-delivery-count": 3}, True, 4),
        ({"x-delivery-count": 0, "x-acquired-count": 2}, True, 3),
        ({"x_amqp_attempts": 2}, False, 3),
        ({"x_amqp_attempts": 2, "x-delivery-count": 1}, True, 4),
        ({"x_amqp_attempts": "many"}, False, 1),
    ],
)
def test_attempts_are_those_of_all_copies(
    table: dict[str, object] | None, redelivered: bool, attempt: int
) -> None:
    assert attempt_of(Properties(headers=table), redelivered) == attempt


def test_a_delay_is_rounded_up_to_a_step() -> None:
    assert [step_for(delay) for delay in (0.001, 0.1, 0.3 - 0.1, 0.21, 5.0, 59.0, 1e9)] == [
        "100ms",
        "100ms",
        "200ms",
        "500ms",
        "5s",
        "1m",
        "45d",
    ]
    assert [seconds for seconds, _ in LADDER] == sorted(seconds for seconds, _ in LADDER)


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, ("127.0.0.1", 5672, "guest", "guest", "/", False)),
        ({"url": "amqp://u:p%40@h:1/a%2Fb"}, ("h", 1, "u", "p@", "a/b", False)),
        ({"url": "amqp://u@h/x", "vhost": "y"}, ("h", 5672, "u", "", "y", False)),
        ({"url": "amqps://[::1]"}, ("::1", 5671, "guest", "guest", "/", True)),
    ],
)
def test_a_url_says_where_the_broker_is(
    fields: dict[str, str], wanted: tuple[str, int, str, str, str, bool]
) -> None:
    found = Settings.from_spec(msgspec.convert(fields, AmqpDriverSpec), "test:rabbitmq")
    assert wanted == (
        found.host,
        found.port,
        found.user,
        found.password,
        found.vhost,
        found.tls is not None,
    )
    assert "p@" not in repr(found)


class FakeConnection:
    def __init__(self) -> None:
        self.woken = 0

    def send_later(self, _source: object) -> None:
        self.woken += 1


class FakeChannel:
    number = 1

    def __init__(self) -> None:
        self.connection = FakeConnection()


@given(st.integers(1, 12).flatmap(lambda n: st.permutations(range(1, n + 1))), st.data())
def test_acks_in_any_order_settle_each_delivery_once(order: list[int], data: st.DataObject) -> None:
    channel = FakeChannel()
    settlements = Settlements(channel)
    outstanding = set(order)
    acked: set[int] = set()
    returned: set[int] = set()
    expected: set[int] = set()
    for tag in order:
        if data.draw(st.booleans()):
            settlements.ack(tag)
            expected.add(tag)
        else:
            settlements.give_back(tag)
        if data.draw(st.booleans()) or tag == order[-1]:
            for _, _, payload in wire.FrameReader().feed(settlements.drain()):
                name, fields = wire.decode_method(payload)
                limit = fields["delivery_tag"]
                # The broker closes the channel over a tag that is not outstanding.
                assert limit in outstanding
                tags = {t for t in outstanding if t <= limit} if fields["multiple"] else {limit}
                (acked if name == "basic.ack" else returned).update(tags)
                outstanding -= tags
    assert not outstanding
    assert acked == expected
    assert returned == set(order) - expected
