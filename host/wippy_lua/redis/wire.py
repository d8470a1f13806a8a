"""Connections to Redis: how one is made, and the wire that all but blocking reads share.

What waits for the wire travels together: its greenlet gathers everything that came up since the
last round trip, sends it at once and reads the answers. Nothing waits for a timer.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha1
from typing import Final, Protocol, TypeAlias, cast

import gevent
import redis
from gevent.event import Event
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,  # noqa: A004 - not the built-in one, and never raised here
    MasterDownError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,  # noqa: A004
)
from redis.retry import Retry

from wippy_lua.errors import Kind, WippyError
from wippy_lua.log import Log

Argument: TypeAlias = str | bytes | int

CONNECT_TIMEOUT: Final = 5.0  #: seconds for a connection
ANSWER_TIMEOUT: Final = 10.0  #: seconds that a caller waits for an answer, new connections included
SHORTEST_SILENCE: Final = 1.0  #: bounds of the seconds in which a live server says something
LONGEST_SILENCE: Final = 5.0
FIRST_RECONNECT: Final = 0.05  #: seconds before the first try to connect again, and at most
LAST_RECONNECT: Final = 1.0

#: The connection is of no use any more.
UNREACHABLE: Final = (ConnectionError, TimeoutError, OSError)
#: Refused without effect by a server that will accept it later, or that lost our script.
NOT_NOW: Final = (NoScriptError, ReadOnlyError, MasterDownError)


class Undeclared(WippyError):
    """The server does not have what a script takes for granted: somebody flushed it."""


class Connection(Protocol):
    """As much as is used of redis-py's connections."""

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def pack_commands(self, commands: Iterable[Sequence[Argument]]) -> list[bytes]: ...
    def send_packed_command(self, command: list[bytes], check_health: bool) -> None: ...
    def read_response(self) -> object: ...


def silence_within(lease: float) -> float:
    """Returns the seconds after which a server that says nothing is taken for gone.

    The leases ask for an answer each quarter of a lease. With another quarter for this answer,
    what is held outlives a connection through which nothing comes any more.
    """
    return min(max(lease / 4, SHORTEST_SILENCE), LONGEST_SILENCE)


class Server:
    """A Redis server by its URL, and the script that it runs for us; ValueError for a bad URL.

    One that says nothing for `silence` seconds while it is asked is taken for gone.
    """

    def __init__(self, url: str, client_name: str, script: bytes, silence: float) -> None:
        self.client_name = client_name
        #: How often a connection took the place of one that was lost.
        self.reconnects = 0
        self._silence = silence
        self._script = script
        self._sha = sha1(self._script, usedforsecurity=False).hexdigest()
        # Only a maker of connections: the pool's own bookkeeping fails at 100 of them.
        self._pool = redis.ConnectionPool.from_url(
            url,
            client_name=client_name,
            protocol=2,
            # A connection that breaks must say so: what was on its way is this module's business.
            retry=Retry(NoBackoff(), 0),
            socket_connect_timeout=CONNECT_TIMEOUT,
            socket_keepalive=True,
        )
        options = self._pool.connection_kwargs
        self.address = options.get("path") or "{}:{}/{}".format(
            options.get("host", "localhost"), options.get("port", 6379), options.get("db", 0)
        )

    def connect(self, longest_read: float = 0.0) -> Connection:
        """Returns a new connection that knows the script; raises what is in UNREACHABLE.

        `longest_read` is how many seconds the server may be asked to wait before it answers.
        """
        factory = self._pool.connection_class
        options = {**self._pool.connection_kwargs, "socket_timeout": longest_read + self._silence}
        connection = cast(Connection, factory(**options))
        connection.connect()
        exchange(connection, ("SCRIPT", "LOAD", self._script))
        return connection

    def script(
        self, verb: str, keys: Sequence[str | bytes], *arguments: Argument
    ) -> tuple[Argument, ...]:
        """Returns the command that runs a verb of the script."""
        return ("EVALSHA", self._sha, len(keys), *keys, verb, *arguments)


def exchange(connection: Connection, command: Sequence[Argument]) -> object:
    """Sends one command and returns its answer; raises UNREACHABLE or ResponseError."""
    connection.send_packed_command(connection.pack_commands([command]), check_health=False)
    return connection.read_response()


def translate(error: Exception) -> WippyError:
    """Returns the host's error for one of Redis or of the connection to it."""
    text = str(error)
    if isinstance(error, AuthenticationError | NoPermissionError):
        return WippyError(f"Redis: {text}", kind=Kind.PERMISSION_DENIED, retryable=False)
    if isinstance(error, (OutOfMemoryError, *UNREACHABLE, *NOT_NOW)):
        return WippyError(f"Redis: {text}", kind=Kind.UNAVAILABLE, retryable=True)
    if "NOGROUP" in text or "UNDECLARED" in text:
        return Undeclared(f"Redis: {text}", kind=Kind.UNAVAILABLE, retryable=True)
    if "NOTASTREAM" in text or "WRONGTYPE" in text:
        return WippyError(f"Redis: {text}", kind=Kind.CONFLICT, retryable=False)
    return WippyError(f"Redis: {text}", kind=Kind.INTERNAL)


class Call:
    """A command that waits for the wire, and what is done with its answer.

    `finish` and `fail` run on the wire's greenlet and must not block.
    """

    __slots__ = ()

    #: Whether it is sent again when its answer was lost, which must do no harm then.
    repeatable = True

    @property
    def is_wanted(self) -> bool:
        """Tells whether it should still be sent; what is not is failed."""
        return True

    def command(self) -> Sequence[Argument]:
        """Returns the command as it is right now."""
        raise NotImplementedError

    def finish(self, reply: object) -> None:
        raise NotImplementedError

    def fail(self, error: WippyError) -> None:
        raise NotImplementedError


class Question(Call):
    """A call whose answer a greenlet waits for."""

    __slots__ = ("_answered", "_command", "_error", "_reply", "_waiting")

    def __init__(self, command: Sequence[Argument]) -> None:
        self._command = command
        self._answered = Event()
        self._reply: object = None
        self._error: WippyError | None = None
        self._waiting = True

    @property
    def is_wanted(self) -> bool:
        return self._waiting

    def command(self) -> Sequence[Argument]:
        return self._command

    def finish(self, reply: object) -> None:
        self._reply = reply
        self._answered.set()

    def fail(self, error: WippyError) -> None:
        self._error = error
        self._answered.set()

    def answer(self, timeout: float, late: Callable[[], WippyError]) -> object:
        """Waits for the answer; raises `late()` when it takes too long."""
        try:
            if not self._answered.wait(timeout):
                raise late()
        finally:
            self._waiting = False
        if self._error is not None:
            raise self._error
        return self._reply


class SingleQuestion(Question):
    """One that must not be asked twice: without an answer, nobody knows whether it was done."""

    __slots__ = ()

    repeatable = False


class Source(Protocol):
    """Something that gathers what it has to send until the wire is free."""

    def take_calls(self) -> list[Call]:
        """Returns what to send now; offers itself again when that is not all."""


class Reader(Protocol):
    """Somebody with a connection of its own to the same server."""

    def distrust(self) -> None:
        """Gives up the connection, through which nothing may come any more; does not block."""


class Wire:
    """The connection for everything that does not block on the server."""

    def __init__(self, server: Server, log: Log) -> None:
        self._server = server
        self._log = log
        self._connection: Connection | None = None
        self._greenlet: gevent.Greenlet[[], None] | None = None
        self._wake = Event()
        self._calls: deque[Call] = deque()
        self._unanswered: deque[Call] = deque()
        self._sources: dict[Source, None] = {}
        #: Why there is no connection; None while there is one.
        self.failure: WippyError | None = None
        #: Who hears when the server fell silent: no connection that was there is to be trusted.
        self.readers: set[Reader] = set()

    def start(self) -> None:
        """Connects; raises WippyError when that fails."""
        try:
            self._connection = self._server.connect()
        except (*UNREACHABLE, ResponseError) as error:
            raise self._unreachable(error) from error
        self.failure = None
        self._greenlet = gevent.spawn(self._run)

    def stop(self, timeout: float) -> None:
        """Sends what waits, for at most `timeout` seconds, and disconnects."""
        if self._greenlet is None:
            return
        try:
            if self.failure is not None:
                raise self.failure
            self.ask(("PING",), timeout)
        except WippyError as error:
            self._log.warning("not everything was sent before the stop", error=error.message)
        finally:
            self._greenlet.kill()
            self._greenlet = None
            self._disconnect()
            for call in [*self._unanswered, *self._calls]:
                call.fail(stopped())
            self._unanswered.clear()
            self._calls.clear()
            self._sources.clear()

    def submit(self, call: Call) -> None:
        """Sends a call with the next round trip."""
        self._calls.append(call)
        self._wake.set()

    def offer(self, source: Source) -> None:
        """Asks a source for its calls before the next round trip."""
        self._sources[source] = None
        self._wake.set()

    def ask(
        self,
        command: Sequence[Argument],
        timeout: float = ANSWER_TIMEOUT,
        *,
        repeatable: bool = True,
    ) -> object:
        """Returns the answer to a command; raises WippyError."""
        question = Question(command) if repeatable else SingleQuestion(command)
        self.submit(question)
        return question.answer(timeout, self.late)

    def late(self) -> WippyError:
        """Returns the error for what got no answer in time."""
        known = self.failure
        if known is None:
            text = "Redis did not answer in time"
            return WippyError(text, kind=Kind.TIMEOUT, retryable=True)
        # A new one each time: an error that is raised again and again keeps every traceback.
        return WippyError(known.message, kind=known.kind, retryable=known.retryable)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            connection = self._connection or self._reconnect()
            self._wake.clear()
            self._round_trip(connection, self._collect())

    def _collect(self) -> list[Call]:
        """Returns what to send: settlements before the questions that were asked after them."""
        sources, self._sources = self._sources, {}
        gathered = [call for source in sources for call in source.take_calls()]
        asked, self._calls = self._calls, deque()
        for call in asked:
            if not call.is_wanted:
                call.fail(self.late())
        return gathered + [call for call in asked if call.is_wanted]

    def _round_trip(self, connection: Connection, calls: list[Call]) -> None:
        unanswered, refused = deque(calls), []
        self._unanswered = unanswered
        try:
            packed = connection.pack_commands([call.command() for call in calls])
            connection.send_packed_command(packed, check_health=False)
            while unanswered:
                reply = _read(connection)
                call = unanswered.popleft()
                if isinstance(reply, NOT_NOW):
                    refused.append(call)
                elif isinstance(reply, ResponseError):
                    call.fail(translate(reply))
                else:
                    call.finish(reply)
            if refused:
                # A new connection brings the script along, or finds the server's new master.
                self._lose(WippyError("Redis refused for now", kind=Kind.UNAVAILABLE))
        except UNREACHABLE as error:
            if isinstance(error, TimeoutError):
                for reader in tuple(self.readers):
                    reader.distrust()
            self._lose(self._unreachable(error))
        again = [*refused, *(call for call in unanswered if call.repeatable)]
        self._calls.extendleft(reversed(again))
        while unanswered:
            call = unanswered.popleft()
            if not call.repeatable:
                call.fail(self.late())

    def _lose(self, failure: WippyError) -> None:
        self._disconnect()
        self.failure = failure
        self._wake.set()

    def _reconnect(self) -> Connection:
        delay = FIRST_RECONNECT
        self._log.warning("connection lost", error=str(self.failure))
        while True:
            # Spread, so that many hosts do not come back in the same moment.
            gevent.sleep(delay * random.uniform(0.5, 1.0))
            try:
                self._connection = self._server.connect()
            except (*UNREACHABLE, ResponseError) as error:
                self.failure = self._unreachable(error)
                delay = min(delay * 2, LAST_RECONNECT)
            else:
                self.failure = None
                self._server.reconnects += 1
                self._log.info("connected again")
                return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None

    def _unreachable(self, error: Exception) -> WippyError:
        known = translate(error)
        text = f"cannot reach Redis at {self._server.address}: {error}"
        kind = Kind.UNAVAILABLE if known.kind is Kind.INTERNAL else known.kind
        return WippyError(text, kind=kind, retryable=known.retryable)


def stopped() -> WippyError:
    return WippyError("not connected to Redis: stopped", kind=Kind.UNAVAILABLE, retryable=True)


def _read(connection: Connection) -> object:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error
