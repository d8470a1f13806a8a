"""What one queue has to send: publishes that wait for room or an answer, and settlements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final, Protocol, cast

from gevent.event import Event

from wippy_lua.clock import Clock
from wippy_lua.errors import PublishError, QueueFull, QueueNotFound, WippyError
from wippy_lua.log import Log
from wippy_lua.queue.drivers.redis.entry import encode_meta
from wippy_lua.queue.message import Message, priority_of
from wippy_lua.redis.wire import Argument, Call, Server, Undeclared, Wire

#: Bounds of one call, so that neither the server nor the wire is held up by one queue.
CALL_MESSAGES: Final = 500
CALL_BYTES: Final = 1024 * 1024
#: Messages that ask a full queue whether it has room again.
PROBE_MESSAGES: Final = 50
#: Seconds until a full queue is asked again, unless this process sees room made before.
ROOM_INTERVAL: Final = 0.05
#: Seconds that a publish waits for the answer at least: a timeout of 0 still asks once.
SHORTEST_WAIT: Final = 0.25


class Room(Protocol):
    """A consumer's credit, which settled deliveries take until the server knows of it."""

    def left(self, count: int) -> None:
        """Frees the room of so many deliveries."""


class Publication:
    """The messages of one `publish`; times are of the host's monotonic clock."""

    __slots__ = ("due", "expires", "failure", "messages", "stored", "woken")

    def __init__(self, messages: Sequence[Message], due: float, expires: float | None) -> None:
        self.messages = [(str(priority_of(m)), m.body, encode_meta(m)) for m in messages]
        self.due = due
        self.expires = expires
        self.stored = 0
        self.failure: WippyError | None = None
        self.woken = Event()

    @property
    def is_done(self) -> bool:
        return self.stored == len(self.messages)


@dataclass(frozen=True, slots=True)
class Part:
    """The messages `start` to `stop` of a publication."""

    publication: Publication
    start: int
    stop: int

    def arguments(self, now: float) -> list[Argument]:
        """Returns what the script wants to know of the messages."""
        publication = self.publication
        delay = max(round((publication.due - now) * 1000), 0)
        expires = publication.expires
        ttl = "" if expires is None else max(round((expires - now) * 1000), 0)
        flat: list[Argument] = []
        for priority, body, meta in publication.messages[self.start : self.stop]:
            flat += (priority, delay, ttl, body, meta)
        return flat


class Outbox:
    """Gathers for one queue. All methods are called on the hub's greenlets and none blocks."""

    def __init__(
        self, queue: str, base: str, server: Server, wire: Wire, clock: Clock, log: Log
    ) -> None:
        self.base = base
        self._queue = queue
        self._max_length = 0
        self._creates = False
        self._server = server
        self._wire = wire
        self._clock = clock
        self._log = log
        self._acks: dict[bytes, list[bytes]] = {}
        self._releases: list[Argument] = []
        self._leaving: dict[Room, int] = {}
        self._publications: dict[Publication, None] = {}
        self._is_out = False  # One publish call at a time keeps the order of what finds no room.
        self._is_full = False
        self._restoring = False
        self._writer = server.client_name
        self._numbers = count(1)

    # Settlements

    def ack(self, room: Room, priority: bytes, entry: bytes) -> None:
        """Removes a message with the next round trip; then its room is free."""
        entries = self._acks.get(priority)
        if entries is None:
            entries = self._acks[priority] = []
        entries.append(entry)
        self._leave_room(room)

    def release(
        self, room: Room, priority: bytes, entry: bytes, delay: float, attempts: int
    ) -> None:
        """Gives a message back with the next round trip; then its room is free."""
        self._releases += (priority, entry, max(round(delay * 1000), 0), attempts)
        self._leave_room(room)

    def _leave_room(self, room: Room) -> None:
        self._leaving[room] = self._leaving.get(room, 0) + 1
        self._wire.offer(self)

    # Publishing

    def publish(self, publication: Publication, timeout: float) -> None:
        """Blocks until all messages are stored; raises what `Driver.publish` raises."""
        if not publication.messages:
            return
        wait = max(timeout, SHORTEST_WAIT)
        if self._is_full:  # Then a timer runs that asks again, for the others first.
            wait = timeout
        else:
            self._wire.offer(self)
        self._publications[publication] = None
        try:
            publication.woken.wait(wait)
            if not publication.is_done:
                raise self._incomplete(publication, timeout)
        finally:
            self._leave(publication)

    def _incomplete(self, publication: Publication, timeout: float) -> WippyError:
        full = QueueFull(self._queue, self._max_length, timeout)
        cause = publication.failure or (full if self._is_full else self._wire.late())
        if not publication.stored:
            return cause
        left = range(publication.stored, len(publication.messages))
        return PublishError(dict.fromkeys(left, cause))

    def _leave(self, publication: Publication) -> None:
        self._publications.pop(publication, None)
        if not self._publications:
            self._is_full = False

    def kick(self) -> None:
        """Tries again at once: this process has just made room."""
        if self._is_full and self._publications:
            self._wire.offer(self)

    def fail(self, error: WippyError) -> None:
        """Fails every publication that waits."""
        for publication in self._publications:
            publication.failure = error
            publication.woken.set()
        self._publications.clear()
        self._is_full = False

    def restore(self) -> None:
        """Makes the queue again that the server has lost; repeated requests are one."""
        if not self._restoring:
            self._restoring = True
            self._wire.submit(_Restore(self._declare_command(), self, self._queue))

    def declared(self, max_length: int, creates: bool) -> None:
        """Notes the queue's bound, and whether to make it again when the server has lost it."""
        self._max_length = max_length
        self._creates = self._creates or creates  # One of several IDs of the queue is enough.

    def _declare_command(self) -> Sequence[Argument]:
        return self.script("declare", self._max_length, int(self._creates))

    def restored(self, failure: WippyError | None) -> None:
        """Goes on with a queue that is there again, or fails what waits for it."""
        self._restoring = False
        self._log.warning(
            "queue was gone from the server", error="" if failure is None else failure.message
        )
        if failure is not None:
            self.fail(failure)
        self._wire.offer(self)

    def script(self, verb: str, *arguments: Argument) -> Sequence[Argument]:
        """Returns the command that runs a verb on this queue."""
        return self._server.script(verb, (self.base,), *arguments)

    # For the wire

    def take_calls(self) -> list[Call]:
        calls = [*self._settlements()]
        if self._publications and not self._is_out and not self._restoring:
            calls.append(self._publish_call())
        return calls

    def _settlements(self) -> list[Call]:
        acks, self._acks = self._acks, {}
        releases, self._releases = self._releases, []
        commands = [
            self.script("ack", priority, *entries[i : i + CALL_MESSAGES])
            for priority, entries in acks.items()
            for i in range(0, len(entries), CALL_MESSAGES)
        ]
        step = 4 * CALL_MESSAGES
        commands += [
            self.script("release", *releases[i : i + step]) for i in range(0, len(releases), step)
        ]
        leaving, self._leaving = self._leaving, {}
        calls: list[Call] = [_Settlement(command, {}, self._log) for command in commands[:-1]]
        # Answers come in the order of their calls: with the last one all of it has happened.
        calls += [_Settlement(command, leaving, self._log) for command in commands[-1:]]
        return calls

    def _publish_call(self) -> Call:
        size = CALL_BYTES
        room = PROBE_MESSAGES if self._is_full else CALL_MESSAGES
        parts: list[Part] = []
        for publication in self._publications:
            start = stop = publication.stored
            while stop < len(publication.messages) and room > 0 and size > 0:
                size -= len(publication.messages[stop][1])
                room -= 1
                stop += 1
            parts.append(Part(publication, start, stop))
            if room <= 0 or size <= 0:
                break
        self._is_out = True
        return _Publish(self, next(self._numbers), parts)

    def waits(self, publication: Publication) -> bool:
        """Tells whether somebody still waits for a publication."""
        return publication in self._publications

    def publish_command(self, number: int, parts: Sequence[Part]) -> Sequence[Argument]:
        now = self._clock.monotonic()
        messages = [argument for part in parts for argument in part.arguments(now)]
        return self.script("publish", self._writer, number, *messages)

    def published(self, parts: Sequence[Part], stored: int) -> None:
        """Tells publications how many of their messages were stored, in their order."""
        self._is_out = False
        self._is_full = stored < sum(part.stop - part.start for part in parts)
        for part in parts:
            publication, here = part.publication, min(part.stop - part.start, stored)
            publication.stored += here
            stored -= here
            if publication.is_done:
                self._leave(publication)
                publication.woken.set()
        if not self._publications:
            return
        if self._is_full:
            self._clock.call_later(ROOM_INTERVAL, self.kick)
        else:
            self._wire.offer(self)

    def refused(self, parts: Sequence[Part], error: WippyError) -> None:
        """Fails publications, or keeps them until a lost queue is there again."""
        self._is_out = False
        if isinstance(error, Undeclared):
            self.restore()
            return
        for part in parts:
            publication = part.publication
            publication.failure = error
            publication.woken.set()
            self._leave(publication)
        self._wire.offer(self)


class _Publish(Call):
    """Messages of some publications.

    The server knows the last call by its number: one whose answer was lost is sent again and
    stores nothing twice.
    """

    __slots__ = ("_number", "_outbox", "_parts")

    def __init__(self, outbox: Outbox, number: int, parts: Sequence[Part]) -> None:
        self._outbox = outbox
        self._number = number
        self._parts = parts

    @property
    def is_wanted(self) -> bool:
        return any(self._outbox.waits(part.publication) for part in self._parts)

    def command(self) -> Sequence[Argument]:
        return self._outbox.publish_command(self._number, self._parts)

    def finish(self, reply: object) -> None:
        self._outbox.published(self._parts, cast(int, reply))

    def fail(self, error: WippyError) -> None:
        self._outbox.refused(self._parts, error)


class _Settlement(Call):
    """Acks or releases. An entry is settled once, so that doing it again changes nothing."""

    __slots__ = ("_command", "_leaving", "_log")

    def __init__(self, command: Sequence[Argument], leaving: Mapping[Room, int], log: Log) -> None:
        self._command = command
        self._leaving = leaving
        self._log = log

    def command(self) -> Sequence[Argument]:
        return self._command

    def finish(self, reply: object) -> None:  # noqa: ARG002 - how many were settled is no matter
        self._free()

    def fail(self, error: WippyError) -> None:
        """Frees the room too: what was not settled comes back to some consumer after its lease."""
        self._log.error("messages not settled, they come back", error=error.message)
        self._free()

    def _free(self) -> None:
        for room, number in self._leaving.items():
            room.left(number)


class _Restore(Call):
    """Declares a lost queue again."""

    __slots__ = ("_command", "_outbox", "_queue")

    def __init__(self, command: Sequence[Argument], outbox: Outbox, queue: str) -> None:
        self._command = command
        self._outbox = outbox
        self._queue = queue

    def command(self) -> Sequence[Argument]:
        return self._command

    def finish(self, reply: object) -> None:
        self._outbox.restored(QueueNotFound(self._queue) if reply is None else None)

    def fail(self, error: WippyError) -> None:
        self._outbox.restored(error)
