"""An admin server in this process, and a client that asks it from a thread of its own."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from gevent.threadpool import ThreadPool

from wippy_lua import Host
from wippy_lua.admin.address import Address
from wippy_lua.admin.server import AdminServer

P = ParamSpec("P")
T = TypeVar("T")

JSON = "application/json"
PATIENCE = 10.0


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


class Site:
    """The admin server of a host, and how to ask it as another program would."""

    def __init__(self, host: Host, token: str | None = None, address: str = "127.0.0.1:0") -> None:
        self.server = AdminServer(host.admin_app(token=token), Address.parse(address))
        # A thread, since the client blocks where nobody has patched it, and this one serves.
        self._thread = ThreadPool(1)

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.stop()
        self._thread.kill()

    @property
    def url(self) -> str:
        return self.server.address.url

    def away(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a client's function in its thread; other greenlets of this one go on."""
        result: T = self._thread.apply(function, args, kwargs)
        return result

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Sends a request; a body that is no bytes goes as JSON."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        defaults = {"Content-Type": JSON} if method == "POST" else {}
        return self.away(self._ask, method, path, data, {**defaults, **(headers or {})})

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, headers={k.replace("_", "-"): v for k, v in headers.items()})

    def post(self, path: str, body: object = None) -> Answer:
        return self.ask("POST", path, {} if body is None else body)

    def raw(self, data: bytes) -> bytes:
        """Sends bytes, and returns all that comes back until the server hangs up."""
        return self.away(self._raw, data)

    def _raw(self, data: bytes) -> bytes:
        address = self.server.address
        with socket.create_connection((address.host, address.port), PATIENCE) as connection:
            connection.sendall(data)
            parts = []
            try:
                while part := connection.recv(65536):
                    parts.append(part)
            except ConnectionResetError:
                parts.append(b"")  # it did not read all that was sent
            return b"".join(parts)

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        address = self.server.address
        connection = HTTPConnection(address.host, address.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers), response.read())
        finally:
            connection.close()
