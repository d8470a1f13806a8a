"""The admin server of `wippy-lua run --admin`: in the host's own hub, with limits of its own."""

from __future__ import annotations

import errno
from dataclasses import replace
from http.client import HTTPException
from types import TracebackType
from typing import IO, Any, Final, Self, cast

import gevent
from gevent import socket
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer

from wippy_lua.admin.address import Address
from wippy_lua.admin.app import AdminApp
from wippy_lua.errors import Kind, WippyError
from wippy_lua.log import Log

MAX_HEADERS: Final = 32 * 1024  #: bytes of a request's headers, all together; a line has 8 KiB
MAX_CONNECTIONS: Final = 64  #: at a time; others wait to be accepted
IDLE_SECONDS: Final = 30.0  #: that a peer may take for its next byte, or to read ours
GONE_SECONDS: Final = 1.0  #: that work for a peer that is gone gets to come to a point of rest
STOP_SECONDS: Final = 1.0  #: that requests get to end when the server does


class AdminServer:
    """Serves an app at an address from `start` to `stop`."""

    def __init__(self, app: AdminApp, address: Address) -> None:
        self._app = app
        #: Where it listens; once it does, with the port that the system chose.
        self.address = address
        self._server: WSGIServer | None = None
        self._connections = Pool(MAX_CONNECTIONS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def connections(self) -> int:
        """How many there are just now."""
        return len(self._connections)

    def start(self) -> None:
        """Begins to serve; raises WippyError when the address cannot be had."""
        listener = _listen(self.address)
        self.address = replace(self.address, port=listener.getsockname()[1])
        self._server = WSGIServer(
            listener,
            self._app,
            spawn=self._connections,
            handler_class=Handler,
            # It would write requests, and whatever came in their place.
            log=None,
            error_log=None,
            # Else it would ask the network for its own name.
            environ={"SERVER_NAME": self.address.host, "wippy_lua.log": self._app.log},
        )
        self._server.start()

    def stop(self) -> None:
        """Ends the server, and after a second what is still being served; quiet when it ended."""
        server, self._server = self._server, None
        if server is not None:
            server.stop(timeout=STOP_SECONDS)


def _listen(address: Address) -> socket.socket:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(place)
            listener.listen(MAX_CONNECTIONS)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise WippyError(
            f"cannot listen on {address.url}: {error.strerror or error}",
            kind=Kind.UNAVAILABLE,
            retryable=False,
        ) from error
    return listener


class Handler(WSGIHandler):
    """One connection; refuses headers without end, and peers that fall silent."""

    _is_gone = False

    def handle(self) -> None:
        self.socket.settimeout(IDLE_SECONDS)
        super().handle()

    def process_result(self) -> None:
        """Sends the answer, and ends what still makes it when nobody waits for it any more."""
        serving = cast("gevent.Greenlet[..., None]", gevent.getcurrent())
        watcher = gevent.spawn(self._watch_peer, self.socket, serving)
        try:
            super().process_result()
        finally:
            watcher.kill()

    def _watch_peer(self, peer: socket.socket, serving: gevent.Greenlet[..., None]) -> None:
        socket.wait_read(peer.fileno())
        try:
            if peer.recv(1, socket.MSG_PEEK):
                return  # it asks for something else already
        except OSError as error:
            self.log.debug("connection lost", error=str(error))
        self._is_gone = True
        gevent.sleep(GONE_SECONDS)
        serving.kill(block=False)

    def write(self, data: bytes) -> None:
        if self._is_gone:  # the system would still take one
            raise ConnectionResetError(errno.ECONNRESET, "the peer is gone")
        super().write(data)

    def MessageClass(self, fp: Any, *rest: Any) -> Any:  # noqa: N802 - gevent's name
        """Reads the headers; raises ValueError for too many."""
        try:
            return super().MessageClass(cast(Any, Bounded(fp, MAX_HEADERS)), *rest)
        except HTTPException as error:
            raise ValueError(str(error)) from error

    def _log_error(self, _kind: object, error: BaseException, _trace: object) -> None:
        """Keeps requests, which have the token, off standard error."""
        if isinstance(error, OSError | gevent.GreenletExit):
            self.log.debug("connection lost", error=str(error))
        else:
            self.log.error("serving failed", exc_info=error)

    @property
    def log(self) -> Log:
        log: Log = self.server.environ["wippy_lua.log"]
        return log


class Bounded:
    """The lines of a file, up to so many bytes."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self._limit = limit
        self._left = limit

    def readline(self, size: int = -1) -> bytes:
        """Returns the next line; raises ValueError past the limit."""
        most = self._left + 1
        line = self._file.readline(min(size, most) if size >= 0 else most)
        self._left -= len(line)
        if self._left < 0:
            raise ValueError(f"headers are over the limit of {self._limit} bytes")
        return line
