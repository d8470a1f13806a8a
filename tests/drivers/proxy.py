"""A TCP proxy that breaks connections the ways networks do."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import gevent
from gevent import socket, ssl
from gevent.event import Event
from gevent.server import StreamServer


class Proxy:
    """Forwards to a port of this machine, until it is told not to.

    With `tls` it speaks TLS to those who connect and plain TCP to the port.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._target = port
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
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
        pair = (client, server)
        self._pairs.add(pair)
        gate = self._flowing
        pumps = [
            gevent.spawn(_pump, client, server, gate),
            gevent.spawn(_pump, server, client, gate),
        ]
        gevent.joinall(pumps, count=1)
        self._pairs.discard(pair)
        for end in pair:
            _shut(end)
        gevent.joinall(pumps)
        for end in pair:
            end.close()


def _open_gate() -> Event:
    gate = Event()
    gate.set()
    return gate


def _pump(source: socket.socket, target: socket.socket, gate: Event) -> None:
    try:
        while data := source.recv(65536):
            gate.wait()
            target.sendall(data)
    except OSError:
        return  # One end is gone; `_serve` ends the other.


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # It is shut already.
