"""Operations of a running host, asked by HTTP: the other side of `wippy_lua.admin`."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from wippy_lua.errors import Kind, WippyError
from wippy_lua.operations.contract import NOTHING_SPECIAL
from wippy_lua.operations.fault import Fault
from wippy_lua.operations.values import (
    Progress,
    Publication,
    QueueStatus,
    Selection,
    StoredMessage,
)
from wippy_lua.units import parse_duration

T = TypeVar("T")

#: Seconds for a connection, and that the host may be silent: some brokers are slow to look through.
CONNECT_SECONDS: Final = 10.0
PATIENCE: Final = 300.0
#: Bytes of an error's text that is shown.
SHOWN: Final = 200


class Line(Progress, frozen=True):
    """A line of a stream: progress, or why there is no more of it."""

    error: Fault | None = None


class Published(msgspec.Struct, frozen=True):
    """The answer to a publish."""

    id: str


class Purged(msgspec.Struct, frozen=True):
    """The answer to a purge."""

    removed: int


class RemoteOperations:
    """`Operations` of the host whose admin server is at `url`.

    Raises ValueError for what is no URL of HTTP. A host that cannot be reached is UNAVAILABLE; a
    token that is missing or wrong PERMISSION_DENIED.
    """

    def __init__(self, url: str, token: str | None = None) -> None:
        self._server = Server(url, token)

    def queues(self) -> Sequence[QueueStatus]:
        return self._server.ask("GET", "queues", kind=list[QueueStatus])

    def queue(self, queue: str) -> QueueStatus:
        return self._server.ask("GET", path_of(queue), kind=QueueStatus)

    def peek(self, queue: str, limit: int) -> Sequence[StoredMessage]:
        path = f"{path_of(queue)}/messages?limit={limit}"
        return self._server.ask("GET", path, kind=list[StoredMessage])

    def publish(self, queue: str, publication: Publication) -> str:
        patience = PATIENCE + _seconds(publication.timeout)
        path = f"{path_of(queue)}/messages"
        return self._server.ask("POST", path, publication, kind=Published, patience=patience).id

    def purge(self, queue: str) -> int:
        return self._server.ask("POST", f"{path_of(queue)}/purge", kind=Purged).removed

    def pause(self, queue: str) -> None:
        self._server.ask("POST", f"{path_of(queue)}/pause", kind=dict[str, Any])

    def resume(self, queue: str) -> None:
        self._server.ask("POST", f"{path_of(queue)}/resume", kind=dict[str, Any])

    def dead_letters(
        self, queue: str, selection: Selection = NOTHING_SPECIAL
    ) -> Sequence[StoredMessage]:
        path = f"{path_of(queue)}/dead-letters"
        return self._server.ask("POST", path, selection, kind=list[StoredMessage])

    def replay(
        self,
        queue: str,
        selection: Selection = NOTHING_SPECIAL,
        *,
        rate: float | None = None,
        dry_run: bool = False,
    ) -> Iterator[Progress]:
        order = {"selection": selection, "rate": rate, "dry_run": dry_run}
        return self._server.follow(f"{path_of(queue)}/dead-letters/replay", order)

    def drop(
        self, queue: str, selection: Selection = NOTHING_SPECIAL, *, dry_run: bool = False
    ) -> Iterator[Progress]:
        order = {"selection": selection, "dry_run": dry_run}
        return self._server.follow(f"{path_of(queue)}/dead-letters/drop", order)


class Server:
    """An admin server: one connection for each request."""

    def __init__(self, url: str, token: str | None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no URL of an admin server, such as http://127.0.0.1:9464")
        self._url = url
        self._host, self._port = parts.hostname, parts.port
        self._is_secure = parts.scheme == "https"
        self._base = f"{parts.path.rstrip('/')}/api"
        self._headers = {"Content-Type": "application/json", "Connection": "close"}
        if token is not None:
            self._headers["Authorization"] = f"Bearer {token}"

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        kind: type[T],
        patience: float = PATIENCE,
    ) -> T:
        """Returns the answer to one request; raises WippyError."""
        with self._exchange() as exchange:
            exchange.send(method, f"{self._base}/{path}", body, self._headers, patience)
            return exchange.read(kind)

    def follow(self, path: str, body: object) -> Following:
        """Begins an operation and returns its progress; raises what the host refuses."""
        exchange = self._exchange()
        try:
            exchange.send("POST", f"{self._base}/{path}", body, self._headers, PATIENCE)
        except BaseException:
            exchange.close()
            raise
        return Following(exchange)

    def _exchange(self) -> Exchange:
        if not self._is_secure:
            connection = HTTPConnection(self._host, self._port, timeout=CONNECT_SECONDS)
        else:
            connection = HTTPSConnection(
                self._host,
                self._port,
                timeout=CONNECT_SECONDS,
                context=ssl.create_default_context(),
            )
        return Exchange(connection, self._url)


class Exchange:
    """One request and what comes back; its errors are the host's own."""

    def __init__(self, connection: HTTPConnection, url: str) -> None:
        self._connection = connection
        self._url = url
        self._response: HTTPResponse | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        if self._response is not None:
            self._response.close()
        self._connection.close()

    def send(
        self, method: str, path: str, body: object, headers: Mapping[str, str], patience: float
    ) -> None:
        """Sends the request and reads the head of the answer; raises what the host refuses."""
        data = b"" if method == "GET" else msgspec.json.encode({} if body is None else body)
        try:
            self._connection.connect()
            self._connection.sock.settimeout(patience)
            self._connection.request(method, path, data or None, headers)
            self._response = response = self._connection.getresponse()
            if not response.status // 100 == 2:
                raise self._refusal(response)
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from error

    def read(self, kind: type[T]) -> T:
        """Reads the whole answer."""
        try:
            text = b"" if self._response is None else self._response.read()
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from error
        return self._decode(text, kind)

    def read_line(self) -> Line | None:
        """Reads the next line of the answer; None at its end."""
        try:
            text = b"" if self._response is None else self._response.readline()
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from error
        return self._decode(text, Line) if text else None

    def _decode(self, text: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(text, type=kind)
        except msgspec.DecodeError as error:
            raise WippyError(
                f"{self._url} answers with what no admin server says: {error}", kind=Kind.INTERNAL
            ) from error

    def _refusal(self, response: HTTPResponse) -> WippyError:
        text = response.read()
        try:
            return msgspec.json.decode(text, type=Fault).error
        except msgspec.DecodeError:
            shown = text[:SHOWN].decode("utf-8", "replace")
            return WippyError(
                f"{self._url} answers with {response.status} {response.reason}, which is not from"
                f" an admin server: {shown}",
                kind=Kind.UNAVAILABLE,
            )

    def _unreachable(self, error: Exception) -> WippyError:
        return WippyError(
            f"cannot reach the host at {self._url}: {error or type(error).__name__}",
            kind=Kind.TIMEOUT if isinstance(error, TimeoutError) else Kind.UNAVAILABLE,
            retryable=True,
        )


class Following:
    """The progress of an operation that the host does; closing it ends the operation."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._is_over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Progress:
        if self._is_over:
            raise StopIteration
        try:
            return self._next()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Hangs up, which the host takes for a stop."""
        self._is_over = True
        self._exchange.close()

    def __del__(self) -> None:
        self.close()

    def _next(self) -> Progress:
        line = self._exchange.read_line()
        if line is None:
            message = "the host went away before the operation was over"
            raise WippyError(message, kind=Kind.UNAVAILABLE, retryable=True)
        if line.error is not None:
            raise line.error.error
        if line.finished:
            self.close()
        return Progress(line.done, line.skipped, line.left, line.total, line.finished)


def path_of(queue: str) -> str:
    return f"queues/{quote(queue, safe=':')}"


def _seconds(timeout: float | str) -> float:
    try:
        return parse_duration(timeout)
    except ValueError:
        return 0.0  # the host says what is wrong with it
