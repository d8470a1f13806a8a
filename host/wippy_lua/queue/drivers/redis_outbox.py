"""What one queue has to send: publishes that wait for room or an answer, and settlements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from gevent.event import Event

from wippy_lua.clock import Clock
from wippy_lua.errors import PublishError, QueueFull, QueueNotFound, WippyError
from wippy_lua.log import Log
from wippy_lua.queue.drivers.redis_entry import encode_meta
from wippy_lua.queue.drivers.redis_wire import Argument, Call, Server, Undeclared, Wire
from wippy_lua.queue.message import Message, priority_of

#: Bounds of one call, so that neither the server nor the wire is held up by one queue.
CALL_MESSAGES: Final = 500
CALL_BYTES: Final = 1024 * 1024
#: Messages that ask a full queue whether it has room again.
PROBE_MESSAGES: Final = 50
#: Seconds until a full queue is asked again, unless this process sees room made before.
ROOM_INTERVAL: Final = 0.05
#: Seconds that a publish waits for the answer at least: a timeout of 0 still asks once.
SHORTEST_WAIT: Final = 0.25


class Publication:
    """The messages of one `publish`; times are of the host's monotonic clock."""

    __slots__ = ("bodies", "due", "expires", "failure", "messages", "stored", "woken")

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

    def arguments(self, start: int, stop: int, now: float) -> list[Argument]:
        """Returns what the script wants to know of some of the messages."""
        delay = max(round((self.due - now) * 1000), 0)
        ttl = "" if self.expires is None else max(round((self.expires - now) * 1000), 0)
        flat: list[Argument] = []
        for priority, body, meta in self.messages[start:stop]:
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
        self._creates = True
        self._server = server
        self._wire = wire
        self._clock = clock
        self._log = log
        self._acks: dict[bytes, list[bytes]] = {}
        self._releases: list[Argument] = []
        self._publications: dict[Publication, None] = {}
        self._is_out = False  # One publish call at a time keeps the order of what finds no room.
        self._is_full = False
        self._restoring = False

    # Settlements

    def ack(self, priority: bytes, entry: bytes) -> None:
        """Removes a message with the next round trip."""
        entries = self._acks.get(priority)
        if entries is None:
            entries = self._acks[priority] = []
        entries.append(entry)
        self._wire.offer(self)

    def release(self, priority: bytes, entry: bytes, delay: float, attempts: int) -> None:
        """Gives a message back with the next round trip."""
        self._releases += (priority, entry, max(round(delay * 1000), 0), attempts)
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
        """Knows the queue's bound, and whether it is made again when the server has lost it."""
        self._max_length = max_length
        self._creates = creates

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
        return [_Settlement(command, self._log) for command in commands]

    def _publish_call(self) -> Call:
        parts: list[tuple[Publication, int]] = []
        arguments: list[Argument] = []
        now, size = self._clock.monotonic(), CALL_BYTES
        room = PROBE_MESSAGES if self._is_full else CALL_MESSAGES
        for publication in self._publications:
            start = stop = publication.stored
            while stop < len(publication.messages) and room > 0 and size > 0:
                size -= len(publication.messages[stop][1])
                room -= 1
                stop += 1
            parts.append((publication, stop - start))
            arguments += publication.arguments(start, stop, now)
            if room <= 0 or size <= 0:
                break
        self._is_out = True
        return _Publish(self.script("publish", *arguments), self, parts)

    def published(self, parts: Sequence[tuple[Publication, int]], stored: int) -> None:
        """Tells publications how many of their messages were stored, in their order."""
        self._is_out = False
        self._is_full = stored < sum(count for _, count in parts)
        for publication, count in parts:
            publication.stored += min(count, stored)
            stored -= min(count, stored)
            if publication.is_done:
                self._leave(publication)
                publication.woken.set()
        if not self._publications:
            return
        if self._is_full:
            self._clock.call_later(ROOM_INTERVAL, self.kick)
        else:
            self._wire.offer(self)

    def refused(self, parts: Sequence[tuple[Publication, int]], error: WippyError) -> None:
        """Fails publications, or keeps them until a lost queue is there again."""
        self._is_out = False
        if isinstance(error, Undeclared):
            self.restore()
            return
        for publication, _ in parts:
            publication.failure = error
            publication.woken.set()
            self._leave(publication)
        self._wire.offer(self)


class _Publish(Call):
    __slots__ = ("_outbox", "_parts")

    def __init__(
        self,
        command: Sequence[Argument],
        outbox: Outbox,
        parts: Sequence[tuple[Publication, int]],
    ) -> None:
        # Sent again it could store the messages twice: the publisher has to decide.
        super().__init__(command, repeatable=False)
        self._outbox = outbox
        self._parts = parts

    def finish(self, reply: object) -> None:
        self._outbox.published(self._parts, cast(int, reply))

    def fail(self, error: WippyError) -> None:
        self._outbox.refused(self._parts, error)


class _Settlement(Call):
    """Acks or releases. An entry is settled once, so that doing it again changes nothing."""

    __slots__ = ("_log",)

    def __init__(self, command: Sequence[Argument], log: Log) -> None:
        super().__init__(command)
        self._log = log

    def finish(self, reply: object) -> None:
        """Has nothing to tell anybody."""

    def fail(self, error: WippyError) -> None:
        self._log.error("messages not settled, they come back", error=error.message)


class _Restore(Call):
    __slots__ = ("_outbox", "_queue")

    def __init__(self, command: Sequence[Argument], outbox: Outbox, queue: str) -> None:
        super().__init__(command)
        self._outbox = outbox
        self._queue = queue

    def finish(self, reply: object) -> None:
        self._outbox.restored(QueueNotFound(self._queue) if reply is None else None)

    def fail(self, error: WippyError) -> None:
        self._outbox.restored(error)
