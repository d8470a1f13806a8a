"""A TCP proxy that breaks connections the ways networks do."""

from __future__ import annotations

import struct
from types import TracebackType
from typing import Any, Final, Self

import gevent
from gevent import socket, ssl
from gevent.event import Event
from gevent.server import StreamServer

#: Closes a socket with a reset, whatever is on its way.
_AT_ONCE: Final = struct.pack("ii", 1, 0)
_WHOLE: Final = 65536

_Pair = tuple[socket.socket, socket.socket]


class Proxy:
    """Forwards to a port of this machine, until it is told not to.

    With `tls` it speaks TLS to those who connect and plain TCP to the port.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._target = port
        self._pairs: set[_Pair] = set()
        self._torn: set[_Pair] = set()
        self._piece, self._pause = _WHOLE, 0.0
        self._flowing = _open_gate()
        self._stranded: list[Event] = []
        arguments: dict[str, Any] = {} if tls is None else {"ssl_context": tls}
        self._server = StreamServer(("127.0.0.1", 0), self._serve, **arguments)
        self._refusing = False

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for gate in [self._flowing, *self._stranded]:
            gate.set()
        self.cut()

    @property
    def port(self) -> int:
        return int(self._server.server_port or 0)

    def cut(self) -> None:
        """Ends all connections."""
        for pair in list(self._pairs):
            for end in pair:
                # Ends what other greenlets read from it, too.
                _shut(end)

    def tear(self) -> None:
        """Resets each connection in the middle of the next piece that goes through it."""
        self._torn |= self._pairs

    def slow_down(self, piece: int = _WHOLE, pause: float = 0.0) -> None:
        """Forwards so many bytes at a time, `pause` seconds before each; everything by default."""
        self._piece, self._pause = piece, pause

    def freeze(self) -> None:
        """Forwards nothing any more; neither side hears of it."""
        self._flowing.clear()

    def strand(self) -> None:
        """Forwards nothing any more on the connections there are, and serves new ones.

        Neither side hears of it, as when a firewall has forgotten its connections.
        """
        self._flowing.clear()
        self._stranded.append(self._flowing)
        self._flowing = _open_gate()

    def thaw(self) -> None:
        """Ends what was frozen, and forwards new connections."""
        self.cut()
        self._flowing.set()

    def refuse(self, refusing: bool) -> None:
        """Ends new connections at once, or serves them again."""
        self._refusing = refusing

    def _serve(self, client: socket.socket, _address: object) -> None:
        if self._refusing:
            client.close()
            return
        server = socket.create_connection(("127.0.0.1", self._target))
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = (client, server)
        self._pairs.add(pair)
        gate = self._flowing
        pumps = [gevent.spawn(self._pump, pair, way, gate) for way in (pair, pair[::-1])]
        gevent.joinall(pumps, count=1)
        self._pairs.discard(pair)
        for end in pair:
            _shut(end)
        gevent.joinall(pumps)
        for end in pair:
            end.close()

    def _pump(self, pair: _Pair, way: _Pair, gate: Event) -> None:
        source, target = way
        try:
            while data := source.recv(_WHOLE):
                gate.wait()
                if pair in self._torn:
                    self._torn.discard(pair)
                    target.sendall(data[: len(data) // 2])
                    _reset(pair)
                    return
                self._forward(target, data)
        except OSError:
            return  # One end is gone; `_serve` ends the other.

    def _forward(self, target: socket.socket, data: bytes) -> None:
        at = 0
        while at < len(data):
            piece = self._piece
            if piece < _WHOLE or self._pause:
                gevent.sleep(self._pause)
            target.sendall(data[at : at + piece])
            at += piece


def _open_gate() -> Event:
    gate = Event()
    gate.set()
    return gate


def _reset(pair: _Pair) -> None:
    for end in pair:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        end.close()


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # It is shut already.
