"""A queue service on loopback: moto's, in a process of its own.

It is patched by gevent so that requests take turns: on threads, two polls can get one message.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
from gevent.pool import Pool
from gevent.server import StreamServer

SERVER = """
from gevent import monkey
monkey.patch_all()
import socket, sys
from gevent.pywsgi import WSGIServer
from moto.server import DomainDispatcherApplication, create_backend_app
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
# Inherited by connections: an answer is written in two parts, and must not wait for an ACK.
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
server = WSGIServer(listener, DomainDispatcherApplication(create_backend_app), log=None)
server.start()
print(server.server_port, flush=True)
server.serve_forever()
"""


class Server:
    """A service that a test may kill and start again at its old port, with all queues gone."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(self.port)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@contextmanager
def running() -> Iterator[Server]:
    server = Server()
    server.start()
    try:
        yield server
    finally:
        server.kill()


class Road:
    """A way to the service that a test can close: connections are refused, and open ones cut."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: StreamServer | None = None
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self) -> None:
        self._server = StreamServer(("127.0.0.1", self.port), self._forward, spawn=Pool())
        self._server.start()
        self.port = int(self._server.address[1])

    def close(self) -> None:
        if self._server is not None:
            self._server.stop(timeout=0)
            self._server = None

    def _forward(self, near: socket.socket, _address: object) -> None:
        with near, socket.create_connection(("127.0.0.1", self._target)) as far:
            back = gevent.spawn(_pump, far, near)
            try:
                _pump(near, far)
            finally:
                back.kill()


def _pump(source: socket.socket, target: socket.socket) -> None:
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)
