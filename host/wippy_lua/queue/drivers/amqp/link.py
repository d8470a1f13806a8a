"""A connection that comes back: opened again, after growing delays, until it is stopped."""

from __future__ import annotations

from collections.abc import Callable

import gevent
from gevent.event import Event

from wippy_lua.errors import WippyError
from wippy_lua.log import Log
from wippy_lua.queue.drivers.amqp.channel import unavailable
from wippy_lua.queue.drivers.amqp.connection import Connection
from wippy_lua.queue.drivers.amqp.settings import Settings


class Link:
    """Keeps one connection open for one purpose.

    `on_up` prepares a new connection before anybody else is given it: it may block, and an error
    that it raises is taken for a failure to connect.
    """

    def __init__(
        self, settings: Settings, purpose: str, on_up: Callable[[Connection], None], log: Log
    ) -> None:
        self._settings = settings
        self._purpose = purpose
        self._on_up = on_up
        self._log = log.bind(connection=purpose, address=settings.address)
        self._connection: Connection | None = None
        self._error: WippyError = unavailable("the amqp driver is not started")
        self._up = Event()
        self._keeper: gevent.Greenlet[..., None] | None = None
        self.reconnects = 0

    def start(self) -> None:
        """Connects; raises WippyError when that fails the first time."""
        if self._keeper is None:
            self._up.clear()
            self._keeper = gevent.spawn(self._keep, self._connect())

    def stop(self) -> None:
        """Disconnects; quiet when there is nothing to."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.kill()
        connection, self._connection = self._connection, None
        self._error = unavailable("the amqp driver is not started")
        if connection is not None:
            connection.close()
        self._up.set()  # Those that wait for a connection learn that there will be none.

    @property
    def connection(self) -> Connection:
        """The open connection; raises WippyError when there is none right now."""
        if self._connection is None or self._connection.error is not None:
            raise self._error
        return self._connection

    @property
    def is_up(self) -> bool:
        return self._connection is not None and self._connection.error is None

    @property
    def is_running(self) -> bool:
        return self._keeper is not None

    def wait(self, timeout: float | None) -> None:
        """Blocks until there is a connection, the link is stopped, or the time is over."""
        self._up.wait(timeout)

    def _connect(self) -> Connection:
        connection = Connection(self._settings, self._purpose, self._up.clear)
        connection.open()
        try:
            self._on_up(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._up.set()
        return connection

    def _keep(self, connection: Connection) -> None:
        while True:
            connection.ended.wait()
            if connection.error is not None:
                self._error = connection.error
            self._log.warning("connection lost", error=self._error.message)
            connection = self._reconnect()
            self.reconnects += 1
            self._log.info("connected again")

    def _reconnect(self) -> Connection:
        delay = self._settings.reconnect_delay
        while True:
            gevent.sleep(delay)
            try:
                return self._connect()
            except WippyError as error:
                self._error = error
                delay = min(max(delay, 0.1) * 2, self._settings.reconnect_max_delay)
                self._log.warning("connecting failed", error=error.message, retry_in=delay)
