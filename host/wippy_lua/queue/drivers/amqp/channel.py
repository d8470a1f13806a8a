"""One AMQP channel: calls that wait for their reply, and events that come by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

from gevent.event import AsyncResult
from gevent.lock import Semaphore

from wippy_lua.errors import Kind, WippyError
from wippy_lua.queue.drivers.amqp import wire
from wippy_lua.queue.drivers.amqp.settings import Settings
from wippy_lua.queue.drivers.amqp.wire import Properties

REPLY_SUCCESS: Final = 200

#: A method, its fields, and what came with it.
Content: TypeAlias = tuple[str, dict[str, Any], Properties, bytes]
OnEvent: TypeAlias = Callable[[str, dict[str, Any], Properties | None, bytes], None]
OnClosed: TypeAlias = Callable[[WippyError], None]

#: What the broker's codes mean here; anything else is INTERNAL.
_KINDS: Final = {
    311: Kind.INVALID,  # content too large
    320: Kind.UNAVAILABLE,  # closed by an operator, or the broker stops
    402: Kind.INVALID,
    403: Kind.PERMISSION_DENIED,
    404: Kind.NOT_FOUND,
    405: Kind.CONFLICT,  # somebody has the queue for himself
    406: Kind.CONFLICT,
    501: Kind.INVALID,
    530: Kind.PERMISSION_DENIED,  # no such vhost, or not for this user
    541: Kind.UNAVAILABLE,  # an internal error of the broker: a queue without a leader, for one
}


class BrokerError(WippyError):
    """The broker closed a channel or the connection; `code` is AMQP's."""

    def __init__(self, code: int, text: str) -> None:
        kind = _KINDS.get(code, Kind.INTERNAL)
        super().__init__(
            f"RabbitMQ says: {text}",
            kind=kind,
            retryable=kind is Kind.UNAVAILABLE,
            details={"reply_code": code},
        )
        self.code = code
        self.text = text


class Source(Protocol):
    """Something that has bytes to send when the writer asks."""

    def drain(self) -> bytes: ...


class Carrier(Protocol):
    """The connection, as far as its channels need it."""

    @property
    def settings(self) -> Settings: ...

    def send(self, data: bytes) -> None: ...

    def send_later(self, source: Source) -> None: ...

    def forget(self, channel: Channel) -> None: ...


class Channel:
    """One channel: calls that wait for their reply, and events that come by themselves.

    `on_event` runs in the reader and must not block. It is given the method, its fields and, for a
    delivery or a return, properties and body.
    """

    def __init__(
        self,
        connection: Carrier,
        number: int,
        on_event: OnEvent | None,
        on_closed: OnClosed | None,
    ) -> None:
        self.connection = connection
        self.number = number
        self.error: WippyError | None = None
        self._on_event = on_event or _ignore_event
        self._on_closed = on_closed or _ignore_close
        self._turn = Semaphore()
        self._reply: AsyncResult[Content] | None = None
        self._closing = False
        self._content: tuple[str, dict[str, Any]] | None = None
        self._properties: Properties | None = None
        self._missing = 0
        self._parts: list[bytes] = []

    @property
    def is_open(self) -> bool:
        return self.error is None and not self._closing

    def call(self, name: str, **fields: Any) -> Content:
        """Sends a method and returns its reply; raises WippyError."""
        with self._turn:
            self.check()
            reply = self._reply = AsyncResult()
            self.connection.send(wire.method(self.number, name, **fields))
            timeout = self.connection.settings.connection_timeout
            try:
                reply.wait(timeout=timeout)
            finally:
                self._reply = None
                late = unavailable(f"RabbitMQ did not answer {name} within {timeout:g}s")
                if not reply.ready():
                    # A late answer would be taken for that of the next call.
                    self.close()
                    self._on_closed(late)
            if not reply.ready():
                raise late
            answer = reply.get()
            if answer is None:
                raise AssertionError("a reply is never empty")
            return answer

    def check(self) -> None:
        """Raises why the channel cannot be used, if it cannot."""
        if self.error is not None:
            raise self.error
        if self._closing:
            raise unavailable("the channel is closed")

    def close(self) -> None:
        """Closes once all that was said before has been sent; waits for nothing."""
        if self.is_open:
            self._closing = True
            self.connection.send(
                wire.method(self.number, "channel.close", reply_code=REPLY_SUCCESS)
            )

    def fail(self, error: WippyError) -> None:
        """Ends the channel and everybody's waiting."""
        if self.error is not None:
            return
        self.error = error
        if self._reply is not None:
            self._reply.set_exception(error)
        if not self._closing:
            self._on_closed(error)

    def receive(self, kind: int, payload: bytes) -> None:
        """Takes one frame, in the reader."""
        if kind == wire.METHOD:
            name, fields = wire.decode_method(payload)
            if name in wire.WITH_CONTENT:
                self._content = (name, fields)
            else:
                self._handle(name, fields)
        elif kind == wire.HEADER:
            self._missing, self._properties = wire.decode_content_header(payload)
            self._parts = []
            if not self._missing:
                self._complete(b"")
        elif kind == wire.BODY:
            self._missing -= len(payload)
            self._parts.append(payload)
            if self._missing <= 0:
                parts = self._parts
                self._complete(parts[0] if len(parts) == 1 else b"".join(parts))

    def _complete(self, body: bytes) -> None:
        if self._content is None or self._properties is None:
            raise wire.ProtocolError("content without a method")
        (name, fields), properties = self._content, self._properties
        self._content = None
        if name == "basic.get-ok":
            self._answer(name, fields, properties, body)
        else:
            self._on_event(name, fields, properties, body)

    def _handle(self, name: str, fields: dict[str, Any]) -> None:
        if name == "channel.close":
            self.connection.send(wire.method(self.number, "channel.close-ok"))
            self.connection.forget(self)
            self.fail(BrokerError(fields["reply_code"], fields["reply_text"]))
        elif name == "channel.close-ok":
            self.connection.forget(self)
        elif name == "channel.flow":
            self.connection.send(wire.method(self.number, "channel.flow-ok", **fields))
        elif name in ("basic.ack", "basic.nack", "basic.cancel"):
            self._on_event(name, fields, None, b"")
        else:
            self._answer(name, fields, Properties(), b"")

    def _answer(
        self, name: str, fields: dict[str, Any], properties: Properties, body: bytes
    ) -> None:
        if self._reply is not None:
            self._reply.set((name, fields, properties, body))


def _ignore_event(
    _name: str, _fields: dict[str, Any], _properties: Properties | None, _body: bytes
) -> None:
    """Events that nobody asked for mean nothing to a channel that only calls."""


def _ignore_close(_error: WippyError) -> None:
    """The next call raises the error."""


def unavailable(message: str) -> WippyError:
    """Returns the error for what another try may bring."""
    return WippyError(message, kind=Kind.UNAVAILABLE, retryable=True)
