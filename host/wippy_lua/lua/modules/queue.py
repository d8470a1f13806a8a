"""Host side of the Lua module `queue`: from a handler's arguments to the queue manager."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from wippy_lua.call import Call
from wippy_lua.errors import Kind, PublishError, WippyError
from wippy_lua.lua.runtime import HostFunction
from wippy_lua.queue.codec import AS_TEXT, TYPE_OF_KIND, text_type
from wippy_lua.queue.manager import (
    DEFAULT_OPTIONS,
    NO_HEADERS,
    PublishOptions,
    QueueManager,
    check_headers,
)
from wippy_lua.queue.message import Delivery, Header, Message
from wippy_lua.queue.settle import Nacked, Outcome, Rejected, Snoozed, Success
from wippy_lua.security.context import check_publish
from wippy_lua.units import parse_duration

_decode_headers = msgspec.msgpack.Decoder(dict[str, Header]).decode
_decode_options = msgspec.msgpack.Decoder(PublishOptions).decode
_encode = msgspec.msgpack.Encoder().encode


class App(Protocol):
    """What a program may declare while it runs."""

    def declare_queue(self, queue: str, fields: Mapping[str, object]) -> None:
        """Adds a queue; raises WippyError, of kind CONFLICT when it exists with other fields."""

    def consume(
        self, call: Call, queue: str, module: str, method: str, fields: Mapping[str, object]
    ) -> str:
        """Adds a consumer and starts it; `module` is "" for the program itself. Returns its ID."""


class QueueModule:
    """The functions that stdlib/queue.lua calls."""

    def __init__(self, manager: QueueManager, app: App) -> None:
        self._manager = manager
        self._app = app

    def functions(self) -> Mapping[str, HostFunction]:
        """Returns the host functions by the names that the Lua side uses."""
        return {
            "codec": self.codec,
            "publish": self.publish,
            "publish_many": self.publish_many,
            "info": self.info,
            "declare": self.declare,
            "consume": self.consume,
            "has_message": self.has_message,
            "message_id": self.message_id,
            "header": self.header,
            "headers": self.headers,
            "attempt": self.attempt,
            "ack": self.ack,
            "nack": self.nack,
            "snooze": self.snooze,
            "reject": self.reject,
            "cancelled": self.cancelled,
            "extend": self.extend,
        }

    def codec(self, _call: Call, queue: bytes) -> bytes:
        """Returns the codec that table bodies for a queue are written with."""
        return self._manager.config(_text(queue)).codec.encode()

    def publish(
        self,
        call: Call,
        queue: bytes,
        body: bytes,
        kind: int,
        headers: bytes | None = None,
        options: bytes | None = None,
    ) -> bytes:
        """Publishes one encoded body; returns the message's ID."""
        if call.loading:
            raise _loading("publish")
        name = _text(queue)
        if call.security is not None:
            check_publish(call.security, name, call)
        wanted = DEFAULT_OPTIONS if options is None else _options(options)
        message = self._message(body, kind, headers, wanted)
        self._manager.publish(name, (message,), wanted)
        return message.id.encode()

    def publish_many(
        self,
        call: Call,
        queue: bytes,
        bodies: bytes,
        kinds: bytes,
        headers: bytes | None = None,
        options: bytes | None = None,
    ) -> bytes:
        """Publishes a packed list of encoded bodies; returns their packed IDs.

        Indexes in the error's details count from 1, as Lua's lists do.
        """
        if call.loading:
            raise _loading("publish_many")
        name = _text(queue)
        if call.security is not None:
            check_publish(call.security, name, call)
        wanted = DEFAULT_OPTIONS if options is None else _options(options)
        if wanted.id is not None:
            raise _invalid("option id: publish_many gives each message an ID of its own")
        parts: list[bytes] = [_as_bytes(part) for part in msgspec.msgpack.decode(bodies)]
        messages = [
            self._message(body, kind, headers, wanted)
            for body, kind in zip(parts, kinds, strict=True)
        ]
        try:
            self._manager.publish(name, messages, wanted)
        except PublishError as error:
            failed = [index + 1 for index in error.failed]
            raise WippyError(
                error.message,
                kind=error.kind,
                retryable=error.retryable,
                details={**(error.details or {}), "failed": failed},
            ) from error
        return _encode([message.id for message in messages])

    def info(self, _call: Call, queue: bytes) -> bytes:
        """Returns a queue's counts, packed."""
        info = self._manager.info(_text(queue))
        fields = {name: getattr(info, name) for name in info.__slots__}
        return _encode({name: value for name, value in fields.items() if value is not None})

    def declare(self, call: Call, queue: bytes, fields: bytes | None = None) -> bool:
        """Declares a queue from Lua."""
        if call.loading:
            raise _loading("declare")
        self._app.declare_queue(_text(queue), _fields(fields))
        return True

    def consume(
        self, call: Call, queue: bytes, module: bytes, method: bytes, fields: bytes | None = None
    ) -> bytes:
        """Starts a consumer from Lua; returns its ID."""
        if call.loading:
            raise _loading("consume")
        consumer = self._app.consume(
            call, _text(queue), _text(module), _text(method), _fields(fields)
        )
        return consumer.encode()

    def has_message(self, call: Call) -> bool:
        """Tells whether the call handles a message."""
        return call.delivery is not None

    def message_id(self, call: Call) -> bytes:
        """Returns the message's ID."""
        return _delivery(call).message.id.encode()

    def header(self, call: Call, key: bytes) -> bytes | None:
        """Returns one header, packed; nil when it is not set."""
        message = _delivery(call).message
        value = message.headers.get(_text(key))
        if value is None and key == b"content_type":
            value = message.content_type
        return None if value is None else _encode(value)

    def headers(self, call: Call) -> bytes:
        """Returns all headers, packed."""
        return _encode(dict(_delivery(call).message.headers))

    def attempt(self, call: Call) -> int:
        """Returns the number of this delivery, from 1."""
        return _delivery(call).attempt

    def ack(self, call: Call) -> bool:
        """Settles the message as handled."""
        return _settle(call, Success())

    def nack(self, call: Call, delay: float | bytes | None = None) -> bool:
        """Settles the message as failed."""
        return _settle(call, Nacked(None if delay is None else _seconds("delay", delay)))

    def snooze(self, call: Call, delay: float | bytes) -> bool:
        """Gives the message back without spending the attempt."""
        return _settle(call, Snoozed(_seconds("delay", delay)))

    def reject(self, call: Call, reason: bytes | None = None) -> bool:
        """Settles the message as never to be handled."""
        return _settle(call, Rejected("" if reason is None else _text(reason)))

    def cancelled(self, call: Call) -> bool:
        """Tells whether the consumer is stopping."""
        return call.cancelled

    def extend(self, call: Call, duration: float | bytes) -> bool:
        """Keeps the message's lease for so long."""
        _delivery(call).extend(_seconds("duration", duration))
        return True

    def _message(
        self, body: bytes, kind: int, headers: bytes | None, options: PublishOptions
    ) -> Message:
        # Unpacked headers are checked again: the decoder allows reserved keys.
        wanted = NO_HEADERS if headers is None else check_headers(_headers(headers))
        content_type = text_type(body) if kind == AS_TEXT else TYPE_OF_KIND[kind]
        return self._manager.message(body, content_type, wanted, options.id)


def _delivery(call: Call) -> Delivery:
    if call.delivery is None:
        raise _invalid("no delivery in context: this call handles no message")
    return call.delivery


def _settle(call: Call, outcome: Outcome) -> bool:
    _delivery(call)
    if call.settler is None or not call.settler(call, outcome):
        raise _invalid("queue.Message already settled")
    return True


def _loading(verb: str) -> WippyError:
    return _invalid(f"queue.{verb} does nothing while a module loads: call it inside a function")


def _headers(packed: bytes) -> dict[str, Header]:
    try:
        return _decode_headers(packed)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise _invalid(
            f"headers: {error}; keys are strings, values strings, numbers or booleans"
        ) from error


def _options(packed: bytes) -> PublishOptions:
    try:
        return _decode_options(packed)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise _invalid(f"options: {error}") from error


def _fields(packed: bytes | None) -> Mapping[str, object]:
    fields = {} if packed is None else msgspec.msgpack.decode(packed)
    if fields == []:  # an empty Lua table is a list
        return {}
    if not isinstance(fields, dict):
        raise _invalid("config must be a table with named fields")
    return fields


def _seconds(name: str, value: float | bytes) -> float:
    try:
        return parse_duration(_text(value) if isinstance(value, bytes) else value)
    except ValueError as error:
        raise _invalid(f"{name}: {error}") from error


def _as_bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise _invalid("the text is not UTF-8") from error


def _invalid(message: str) -> WippyError:
    return WippyError(message, kind=Kind.INVALID, retryable=False)
