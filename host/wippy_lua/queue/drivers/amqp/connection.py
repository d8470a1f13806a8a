"""One AMQP connection on gevent: its reader, its writer, and the way from one end to the other.

The writer sends what has gathered by the time it gets its turn, so everything that greenlets say
in one round of the hub travels in one packet. Nothing here reconnects: a connection that ended
stays ended, with its error, and all that wait on it are told.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any, Final

import gevent
from gevent import socket, ssl
from gevent.event import Event
from gevent.queue import Empty, SimpleQueue

from wippy_lua.errors import WippyError
from wippy_lua.queue.drivers.amqp import wire
from wippy_lua.queue.drivers.amqp.channel import (
    REPLY_SUCCESS,
    BrokerError,
    Channel,
    OnClosed,
    OnEvent,
    Source,
    unavailable,
)
from wippy_lua.queue.drivers.amqp.settings import Settings
from wippy_lua.queue.drivers.amqp.wire import MAX_FRAME

READ_SIZE: Final = 65536  #: bytes of one read; the other greenlets get a turn after each
HIGH_WATER: Final = 4 * 1024 * 1024  #: bytes that wait for the socket before publishers wait, too
CLOSE_SECONDS: Final = 1.0  #: how long a close waits for the broker's answer
CAPABILITIES: Final = (
    "authentication_failure_close",
    "basic.nack",
    "connection.blocked",
    "consumer_cancel_notify",
    "publisher_confirms",
)


class Connection:
    """One connection, from `open` to its end; `ended` is set when it cannot be used any more."""

    def __init__(
        self, settings: Settings, purpose: str, on_end: Callable[[], None] | None = None
    ) -> None:
        self.settings = settings
        self.purpose = purpose
        self._on_end = on_end
        self.error: WippyError | None = None
        self.ended = Event()
        self.version: tuple[int, ...] = ()
        self.max_frame = MAX_FRAME
        #: Set unless the broker has run out of memory or disk and lets nobody publish.
        self.unblocked = Event()
        self.unblocked.set()
        self.blocked_reason = ""
        #: Set while little waits for the socket.
        self.drained = Event()
        self.drained.set()
        self._socket: socket.socket | None = None
        self._buffer = memoryview(bytearray(READ_SIZE))
        self._control: SimpleQueue[tuple[str, dict[str, Any]] | None] = SimpleQueue()
        self._channels: dict[int, Channel] = {}
        self._free: list[int] = []
        self._next = 1
        self._max_channel = 2047
        self._outgoing: list[bytes] = []
        self._sources: list[Source] = []
        self._waiting_bytes = 0
        self._wake = Event()
        self._greenlets: list[gevent.Greenlet[..., None]] = []
        self._heartbeat = 0.0
        self._silence: float | None = None

    # Its life

    def open(self) -> None:
        """Connects and shakes hands; raises WippyError."""
        address, timeout = self.settings.address, self.settings.connection_timeout
        late = unavailable(f"RabbitMQ at {address} did not answer within {timeout:g}s")
        try:
            with gevent.Timeout(timeout, late):
                self._connect()
                self._shake_hands()
        except OSError as error:
            self.fail(unavailable(f"no connection to RabbitMQ at {address}: {error}"))
        except WippyError as error:
            self.fail(error)
        except BaseException:
            self.fail(unavailable("connecting was given up"))
            raise
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        """Says goodbye, after what waits to be sent; gives up after a second."""
        if self.error is None:
            self.send(wire.method(0, "connection.close", reply_code=REPLY_SUCCESS))
            while self.error is None:
                try:
                    answer = self._control.get(timeout=CLOSE_SECONDS)
                except Empty:
                    break
                if answer is None or answer[0] == "connection.close-ok":
                    break
        self.fail(unavailable("the connection was closed"))

    def fail(self, error: WippyError) -> None:
        """Ends the connection at once, with an error for all that wait on it."""
        if self.error is not None:
            return
        self.error = error
        if self._socket is not None:
            self._socket.close()
        current = gevent.getcurrent()
        for greenlet in self._greenlets:
            if greenlet is not current:
                greenlet.kill(block=False)
        for channel in list(self._channels.values()):
            channel.fail(error)
        self._channels.clear()
        self._outgoing.clear()
        self._sources.clear()
        self._control.put(None)
        self.unblocked.set()
        self.drained.set()
        if self._on_end is not None:
            self._on_end()
        self.ended.set()

    def _connect(self) -> None:
        context = self.settings.tls_context()
        raw = socket.create_connection((self.settings.host, self.settings.port))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = raw
        if context is not None:
            name = (self.settings.tls and self.settings.tls.server_name) or self.settings.host
            self._socket = context.wrap_socket(raw, server_hostname=name)

    def _shake_hands(self) -> None:
        self._greenlets = [gevent.spawn(self._read), gevent.spawn(self._write)]
        self.send(wire.PROTOCOL_HEADER)
        start = self._expect("connection.start")
        version = start["server_properties"].get("version", "")
        self.version = tuple(int(part) for part in version.split(".") if part.isdecimal())
        self.send(
            wire.method(
                0,
                "connection.start-ok",
                client_properties={
                    "product": "wippy-lua",
                    "connection_name": f"{self.settings.connection_name} ({self.purpose})",
                    "capabilities": dict.fromkeys(CAPABILITIES, True),
                },
                mechanism="PLAIN",
                response=f"\0{self.settings.user}\0{self.settings.password}".encode(),
                locale="en_US",
            )
        )
        self._tune(self._expect("connection.tune"))
        self.send(wire.method(0, "connection.open", virtual_host=self.settings.vhost))
        self._expect("connection.open-ok")

    def _tune(self, offer: dict[str, Any]) -> None:
        self.max_frame = min(offer["frame_max"] or MAX_FRAME, MAX_FRAME)
        self._max_channel = offer["channel_max"] or 65535
        # The field holds whole seconds, and 0 would turn them off.
        asked = max(round(self.settings.heartbeat), 1) if self.settings.heartbeat else 0
        self._heartbeat = float(asked)
        # The broker sends something at least every half of it.
        self._silence = 2.0 * asked + 1 if asked else None
        self.send(
            wire.method(
                0,
                "connection.tune-ok",
                channel_max=self._max_channel,
                frame_max=self.max_frame,
                heartbeat=asked,
            )
        )
        self._wake.set()

    def _expect(self, name: str) -> dict[str, Any]:
        message = self._control.get()
        if message is None:
            raise self.error or unavailable("the connection ended")
        if message[0] != name:
            raise unavailable(f"RabbitMQ sent {message[0]} instead of {name}")
        return message[1]

    # Channels

    def channel(
        self, on_event: OnEvent | None = None, on_closed: OnClosed | None = None
    ) -> Channel:
        """Opens a channel; raises WippyError."""
        if self.error is not None:
            raise self.error
        if self._free:
            number = self._free.pop()
        elif self._next <= self._max_channel:
            number, self._next = self._next, self._next + 1
        else:
            raise unavailable(f"all {self._max_channel} channels of the connection are in use")
        channel = Channel(self, number, on_event, on_closed)
        self._channels[number] = channel
        channel.call("channel.open")
        return channel

    def forget(self, channel: Channel) -> None:
        """Lets a channel's number be used again."""
        if self._channels.pop(channel.number, None) is not None:
            self._free.append(channel.number)

    # Sending

    def send(self, data: bytes) -> None:
        """Queues bytes for the wire; never blocks, and drops them when the connection has ended."""
        if self.error is not None:
            return
        self._outgoing.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes > HIGH_WATER:
            self.drained.clear()
        self._wake.set()

    def send_later(self, source: Source) -> None:
        """Asks a source for its bytes when the writer gets its turn."""
        if self.error is None:
            self._sources.append(source)
            self._wake.set()

    def _write(self) -> None:
        try:
            while True:
                idle = self._heartbeat / 2 or None
                if not self._wake.wait(timeout=idle) and not self._outgoing:
                    self._outgoing.append(wire.HEARTBEAT)
                self._wake.clear()
                data = self._gather()
                if self._socket is not None:
                    self._socket.sendall(data)
                if not self._waiting_bytes:
                    self.drained.set()
        except OSError as error:
            self.fail(self._lost(error))

    def _gather(self) -> bytes:
        # By now the greenlets that were ready with this one may have more to say.
        gevent.sleep(0)
        sources, self._sources = self._sources, []
        # Acks go first: what is queued may be the close of their channel.
        data = b"".join(chain([source.drain() for source in sources], self._outgoing))
        self._outgoing.clear()
        self._waiting_bytes = 0
        return data

    # Receiving

    def _read(self) -> None:
        frames = wire.FrameReader()
        try:
            while data := self._receive():
                for kind, number, payload in frames.feed(data):
                    self._dispatch(kind, number, payload)
                gevent.sleep(0)
            self.fail(self._lost("closed by the peer"))
        except OSError as error:
            self.fail(self._lost(error))
        except wire.ProtocolError as error:
            self.fail(unavailable(f"RabbitMQ at {self.settings.address}: {error}"))

    def _receive(self) -> bytes:
        connected = self._socket
        if connected is None:
            return b""
        # Not the socket's own timeout: that would end a write, too, and a broker that is out of
        # memory does not read for as long as it likes. It sends heartbeats all the same.
        try:
            with gevent.Timeout(self._silence) as limit:
                return self._read_once(connected)
        except gevent.Timeout as fired:
            if fired is not limit:
                raise
        # In a process that stood still longer than this, the timer comes before the data.
        connected.settimeout(0.0)
        try:
            return self._read_once(connected)
        except (BlockingIOError, ssl.SSLWantReadError):
            raise TimeoutError(f"nothing heard for {self._silence:g}s") from None
        finally:
            connected.settimeout(None)

    def _read_once(self, connected: socket.socket) -> bytes:
        # Into one buffer: a large one for each read, cut to the few bytes that came, would leave
        # the heap in pieces that nobody can use.
        return bytes(self._buffer[: connected.recv_into(self._buffer)])

    def _dispatch(self, kind: int, number: int, payload: bytes) -> None:
        if number:
            channel = self._channels.get(number)
            if channel is not None:
                channel.receive(kind, payload)
        elif kind == wire.METHOD:
            self._handle(*wire.decode_method(payload))

    def _handle(self, name: str, fields: dict[str, Any]) -> None:
        if name == "connection.blocked":
            self.blocked_reason = fields["reason"]
            self.unblocked.clear()
        elif name == "connection.unblocked":
            self.unblocked.set()
        elif name == "connection.close":
            self.fail(BrokerError(fields["reply_code"], fields["reply_text"]))
        else:
            self._control.put((name, fields))

    def _lost(self, reason: object) -> WippyError:
        return unavailable(f"the connection to RabbitMQ at {self.settings.address} broke: {reason}")
