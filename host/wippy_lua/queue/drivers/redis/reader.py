"""An attachment: a connection of its own, which reads as much as the consumer has credit for."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import ceil
from typing import Final, TypeAlias, cast

import gevent
from gevent.event import Event
from redis.exceptions import ResponseError

from wippy_lua.clock import Clock
from wippy_lua.errors import WippyError
from wippy_lua.log import Log
from wippy_lua.queue.driver import Sink
from wippy_lua.queue.drivers.redis.delivery import Holder, Mover
from wippy_lua.queue.drivers.redis.entry import GROUP, Item
from wippy_lua.queue.drivers.redis.outbox import Outbox
from wippy_lua.redis.wire import (
    FIRST_RECONNECT,
    LAST_RECONNECT,
    UNREACHABLE,
    Argument,
    Connection,
    Server,
    Undeclared,
    Wire,
    exchange,
    translate,
)

#: What a read that waits returns: the entries of each stream that has some; None when none has.
_Streams: TypeAlias = list[tuple[bytes, list[tuple[bytes, list[bytes]]]]] | None

#: Seconds that one read waits on the server. What it waits for wakes it earlier; this bounds what
#: a lost wake-up costs.
LONGEST_READ: Final = 5.0
#: Messages of one read. A consumer's credit is several: workers go through what is buffered without
#: a wait, and settlements leave only when they are done. With all of a credit in one read, host and
#: server would take turns; so the server reads and settles while the handlers run.
READ_MESSAGES: Final = 250
#: Messages of one read that waits, which the server does not bound by their bytes.
WAITING_MESSAGES: Final = 8
#: Seconds between two tries to end a read that waits.
UNBLOCK_INTERVAL: Final = 0.05


class ReadingHolder(Holder):
    """A holder whose reader waits when it may take no more."""

    def __init__(self, name: str, outbox: Outbox, mover: Mover, credit: int) -> None:
        super().__init__(name, outbox, mover, credit)
        self.wake: Final = Event()

    def has_room(self) -> None:
        self.wake.set()


class RedisAttachment:
    """Reads for one consumer until it is detached."""

    def __init__(
        self,
        holder: ReadingHolder,
        sink: Sink,
        server: Server,
        wire: Wire,
        detached: Callable[[Holder], None],
        clock: Clock,
        log: Log,
    ) -> None:
        self._holder = holder
        self._base = holder.outbox.base
        self._put = sink.put
        self._server = server
        self._wire = wire
        self._detached = detached
        self._clock = clock
        self._log = log
        self.is_attached = True
        self._client: int | None = None
        self._connection: Connection | None = None
        self._has_read = False
        self._is_reading = False
        self._greenlet = gevent.spawn(self._run)
        self._ending: gevent.Greenlet[[], None] | None = None

    @property
    def connected(self) -> bool:
        return self.is_attached and self._is_reading

    def detach(self) -> None:
        if not self.is_attached:
            return
        self.is_attached = False
        self._detached(self._holder)
        self._holder.wake.set()
        self._ending = gevent.spawn(self._end)

    @property
    def ending(self) -> gevent.Greenlet[[], None] | None:
        """What runs from `detach` until the reader has left the server; None before."""
        return self._ending

    @property
    def has_ended(self) -> bool:
        return self._ending is not None and self._ending.ready()

    def cut_off(self) -> None:
        """Ends a reader that did not end in time; what it was being given comes back later."""
        self._greenlet.kill()
        if self._ending is not None:
            self._ending.kill()

    def distrust(self) -> None:
        """Gives up the connection: the server fell silent on another one.

        A read that waits would learn only LONGEST_READ and a silence later that nothing comes
        through, and a reader that waits for room even later.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
        self._holder.wake.set()

    def _end(self) -> None:
        """Ends the read that waits and takes the consumer's name off the server.

        The connection is not just closed: the server could still hand a message to it, which
        would then be lost until its lease ends.
        """
        while not self._greenlet.ready():
            self._unblock()
            self._greenlet.join(UNBLOCK_INTERVAL)
        try:
            self._wire.ask(self._holder.outbox.script("retire", self._holder.name))
        except WippyError as error:
            self._log.debug("consumer left on the server", error=error.message)

    def _unblock(self) -> None:
        if self._client is None:
            return
        try:
            self._wire.ask(("CLIENT", "UNBLOCK", self._client), UNBLOCK_INTERVAL)
        except WippyError as error:
            # The read ends by itself after LONGEST_READ.
            self._log.debug("read not interrupted", error=error.message)

    def _run(self) -> None:
        delay = FIRST_RECONNECT
        while self.is_attached:
            began = self._clock.monotonic()
            try:
                self._connect_and_read()
            except UNREACHABLE as error:
                # The wire tells of a server that is gone: once, and not once for each reader.
                self._log.debug("reading interrupted", error=str(error))
            except ResponseError as error:
                self._refused(translate(error))
            except WippyError as error:
                self._refused(error)
            if self._clock.monotonic() - began > LAST_RECONNECT:
                delay = FIRST_RECONNECT
            if self.is_attached:
                gevent.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, LAST_RECONNECT)

    def _refused(self, error: WippyError) -> None:
        if isinstance(error, Undeclared):
            self._holder.outbox.restore()
        else:
            self._log.error("reading refused", error=error.message)

    def _connect_and_read(self) -> None:
        connection = self._connection = self._server.connect(LONGEST_READ)
        self._wire.readers.add(self)
        try:
            self._client = cast(int, exchange(connection, ("CLIENT", "ID")))
            if self._has_read:
                self._recover()
                self._server.reconnects += 1
            self._has_read = self._is_reading = True
            self._read(connection)
        finally:
            self._wire.readers.discard(self)
            self._client = self._connection = None
            self._is_reading = False
            connection.disconnect()

    def _recover(self) -> None:
        """Takes over what the server gave to the connection that broke.

        It is asked over the wire, behind all settlements: nothing that was settled meanwhile is
        taken for lost. Whatever is settled from here on is known.
        """
        known = [delivery.priority + b":" + delivery.entry for delivery in self._holder.held]
        command = self._holder.outbox.script("recover", self._holder.name, *known)
        found = cast(list[Item], self._wire.ask(command))
        if found:
            self._deliver(found)

    def _read(self, connection: Connection) -> None:
        """Reads until detached, or until the connection is not to be trusted any more.

        A fetch looks at everything. When it finds nothing, all that may come until `due` wakes a
        read that waits: one such read follows the other then, without a fetch between them.
        """
        bell, due = b"", 0.0
        while self.is_attached and self._connection is connection:
            free = self._holder.free
            if free <= 0:
                self._holder.wake.clear()
                self._holder.wake.wait()
                due = 0.0  # Anything may have come or expired meanwhile.
                continue
            now = self._clock.monotonic()
            if bell or now >= due:
                wait, taken = self._fetch(connection, min(free, READ_MESSAGES), bell)
                bell, due = b"", 0.0 if taken else self._clock.monotonic() + wait
            else:
                limit = min(free, WAITING_MESSAGES)
                bell, taken = self._block(connection, limit, due - now)
                if not 0 < len(taken) < limit:
                    due = 0.0
            if taken:
                self._deliver(taken)

    def _fetch(self, connection: Connection, limit: int, bell: bytes) -> tuple[float, list[Item]]:
        """Returns the seconds in which nothing is due, LONGEST_READ at most, and entries."""
        command = self._holder.outbox.script("fetch", self._holder.name, limit, bell)
        reply = cast(tuple[int, list[Item]], exchange(connection, command))
        wait, taken = reply
        return LONGEST_READ if wait < 0 else min(wait / 1000, LONGEST_READ), taken

    def _block(self, connection: Connection, limit: int, wait: float) -> tuple[bytes, list[Item]]:
        """Waits for an entry of priority 0 or for the bell; returns the bell's ID and entries."""
        block = ceil(wait * 1000)  # 0 would be for ever
        bell_key = f"{self._base}:bell"
        command: list[Argument] = ["XREADGROUP", "GROUP", GROUP, self._holder.name]
        command += ["COUNT", limit, "BLOCK", block, "STREAMS", bell_key, self._base, ">", ">"]
        reply = cast(_Streams, exchange(connection, command))
        bell, taken = b"", list[Item]()
        for key, entries in reply or ():
            if key == bell_key.encode():
                bell = entries[-1][0]
            else:
                taken = [(b"0", entry, fields) for entry, fields in entries]
        return bell, taken

    def _deliver(self, taken: list[Item]) -> None:
        now, holder, put = self._clock.monotonic(), self._holder, self._put
        for item in taken:
            delivery = holder.take_over(item, now)
            if self.is_attached:
                put(delivery)
            else:
                delivery.release(0.0, charged=False)
        holder.outbox.kick()
