"""A queue service on loopback: moto's, in a process of its own.

It is patched by gevent so that requests take turns: on threads, two polls can get one message.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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
