"""Queues on a Redis or Valkey server: streams, with one consumer group each.

What waits, what is due and what a lost process held is moved by the server's own clock in one
script, `script.lua`; this side decides when to ask. Needs a process that gevent has patched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from itertools import count
from typing import Final, cast

import gevent

from wippy_lua.clock import Clock
from wippy_lua.errors import Kind, QueueNotFound, WippyError
from wippy_lua.log import Log
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.driver import Attachment, Capabilities, QueueInfo, Seen, Sink
from wippy_lua.queue.drivers.options import check_known, conflict, max_length_of
from wippy_lua.queue.message import Delivery, Message, priority_of
from wippy_lua.queue.pages import browse_pages
from wippy_lua.redis import check_patched, identity, needed_by
from wippy_lua.registry.entry import Entry
from wippy_lua.registry.kinds import RedisDriverSpec

KIND: Final = "queue.driver.redis"

with needed_by(KIND):
    from wippy_lua.queue.drivers.redis.delivery import Holder, RedisDelivery
    from wippy_lua.queue.drivers.redis.entry import (
        FORMAT,
        Item,
        Place,
        batches,
        decode_entry,
        encode_meta,
        place_of,
        published_at,
    )
    from wippy_lua.queue.drivers.redis.keeper import Keeper
    from wippy_lua.queue.drivers.redis.outbox import Outbox, Publication
    from wippy_lua.queue.drivers.redis.reader import ReadingHolder, RedisAttachment
    from wippy_lua.redis.wire import Server, Undeclared, Wire, silence_within, stopped

#: The files that make the script, in this order.
SCRIPT: Final = ("script.lua", "operators.lua")
OPTIONS: Final = ("max_length",)
OLDEST_VERSION: Final = (6, 2)
#: Seconds that a stop waits for settlements to leave, and for readers to end.
FLUSH_TIMEOUT: Final = 3.0
READER_TIMEOUT: Final = 1.0
#: Messages of one answer to an operator.
TAKE_LIMIT: Final = 1000


def from_entry(entry: Entry, clock: Clock, log: Log) -> RedisDriver:
    """Returns the driver of a `queue.driver.redis` entry; raises WippyError for a bad URL."""
    spec = entry.spec_as(RedisDriverSpec)
    try:
        return RedisDriver(spec.url, clock, log, prefix=spec.prefix, lease=spec.lease)
    except ValueError as error:
        raise WippyError(f"{entry.id}: {error}", kind=Kind.INVALID, retryable=False) from error


@dataclass(frozen=True, slots=True)
class RedisQueue:
    """One queue by its name, and the way to it."""

    name: str
    outbox: Outbox


class RedisDriver:
    """A server with its queues: one connection for all calls, one more for each attachment."""

    capabilities = Capabilities()

    def __init__(
        self, url: str, clock: Clock, log: Log, *, prefix: str = "wippy", lease: float = 30.0
    ) -> None:
        self._clock = clock
        self._log = log
        self._prefix = prefix
        name = identity()
        folder = files(__package__)
        script = b"\n".join(folder.joinpath(part).read_bytes() for part in SCRIPT)
        self._server = Server(url, f"wippy-lua:{name}", script, silence_within(lease))
        self._wire = Wire(self._server, log)
        self._keeper = Keeper(lease, self._wire, clock, log)
        self._names = (f"{name}:{n}" for n in count(1))
        self._running = False
        self._queues: dict[str, RedisQueue] = {}
        self._by_name: dict[str, RedisQueue] = {}
        self._attachments: list[RedisAttachment] = []
        #: What operators hold, by queue name: one consumer of each group for all of it.
        self._operators: dict[str, Holder] = {}

    @property
    def connected(self) -> bool:
        return self._running and self._wire.failure is None

    @property
    def reconnects(self) -> int:
        return self._server.reconnects

    def start(self) -> None:
        if self._running:
            return
        check_patched(KIND)
        self._wire.start()
        try:
            self._check_server()
        except BaseException:
            self._wire.stop(0.0)
            raise
        self._keeper.start()
        self._running = True

    def stop(self) -> None:
        if not self._running:
            return
        self._running = False
        for queue in self._by_name.values():
            queue.outbox.fail(stopped())
        attachments, self._attachments = self._attachments, []
        for attachment in attachments:
            attachment.detach()
        try:
            endings = [attachment.ending for attachment in attachments]
            gevent.joinall([ending for ending in endings if ending], timeout=READER_TIMEOUT)
        finally:  # However impatient the caller is: nothing of this may go on.
            for attachment in attachments:
                attachment.cut_off()
            self._keeper.stop()
            self._wire.stop(FLUSH_TIMEOUT)

    def declare_queue(self, queue: QueueConfig) -> None:
        check_known(queue, "redis", OPTIONS)
        max_length = max_length_of(queue) or 0  # as Redis keeps it: 0 is no bound
        existing = self._queues.get(queue.id)
        if existing is not None and existing.name != queue.queue_name:
            raise conflict(queue, {"queue_name": existing.name}, {"queue_name": queue.queue_name})
        there = existing or self._by_name.get(queue.queue_name) or self._new_queue(queue)
        self._check_running()
        reply = self._wire.ask(there.outbox.script("declare", max_length, int(queue.declare)))
        if reply is None:
            raise QueueNotFound(queue.id)
        form, stored = cast(list[bytes], reply)
        if int(form) > FORMAT:
            raise conflict(queue, {"format": int(form)}, {"format": FORMAT})
        if queue.declare and int(stored) != max_length:
            raise conflict(
                queue, {"max_length": int(stored) or None}, {"max_length": max_length or None}
            )
        there = self._by_name.setdefault(queue.queue_name, there)
        self._queues[queue.id] = there
        there.outbox.declared(int(stored), creates=queue.declare)
        self._keeper.watch(there.outbox)

    def publish(
        self,
        queue: str,
        messages: Sequence[Message],
        *,
        delay: float = 0.0,
        ttl: float | None = None,
        timeout: float = 10.0,
    ) -> None:
        target = self._serving(queue)
        now = self._clock.monotonic()
        expires = None if ttl is None else now + ttl
        target.outbox.publish(Publication(messages, now + delay, expires), timeout)

    def attach(self, queue: str, credit: int, deliveries: Sink) -> Attachment:
        source = self._serving(queue)
        holder = ReadingHolder(next(self._names), source.outbox, self._move, credit)
        self._keeper.add(holder, attached=True)
        attachment = RedisAttachment(
            holder,
            deliveries,
            self._server,
            self._wire,
            self._keeper.detach,
            self._clock,
            self._log,
        )
        self._attachments = [a for a in self._attachments if not a.has_ended]
        self._attachments.append(attachment)
        return attachment

    def info(self, queue: str) -> QueueInfo:
        reply = self._ask(self._serving(queue), "info")
        ready, in_flight, delayed, consumers, old = cast(
            tuple[int, int, int, int, list[tuple[bytes, bytes]]], reply
        )
        dates = [published_at(entry, meta) for entry, meta in old]
        return QueueInfo(
            ready=ready,
            message_count=ready + in_flight + delayed,
            in_flight=in_flight,
            delayed=delayed,
            consumer_count=consumers,
            oldest_age=max(self._clock.time() - min(dates), 0.0) if dates else None,
        )

    def peek(self, queue: str, limit: int) -> list[Message]:
        return [seen.message for seen in self._page(queue, None, limit)]

    def browse(self, queue: str) -> Iterator[Seen]:
        self._serving(queue)
        return browse_pages(partial(self._page, queue))

    def _page(self, queue: str, last: Seen | None, limit: int) -> list[Seen]:
        after = (b"", b"") if last is None else place_of(last)
        found = cast(list[Item], self._ask(self._serving(queue), "peek", limit, *after))
        return [
            Seen(decode_entry(entry, fields)[0], Place(priority, entry))
            for priority, entry, fields in found
        ]

    def pick(self, queue: str, seen: Sequence[Seen]) -> list[Delivery]:
        source = self._serving(queue)
        holder = self._operator(source)
        picked: list[Delivery] = []
        for some in batches(seen):
            places = [part for each in some for part in place_of(each)]
            reply = self._ask(source, "pick", holder.name, *places)
            picked += self._hold(holder, cast(list[Item], reply))
        source.outbox.kick()
        return picked

    def take(self, queue: str, limit: int) -> list[Delivery]:
        source = self._serving(queue)
        holder = self._operator(source)
        taken: list[Delivery] = []
        try:
            while len(taken) < limit:
                wanted = min(limit - len(taken), TAKE_LIMIT)
                reply = self._ask(source, "fetch", holder.name, wanted, "")
                items = cast(tuple[int, list[Item]], reply)[1]
                taken += self._hold(holder, items)
                if not items:
                    break
        except WippyError:
            for delivery in taken:
                delivery.release(0.0, charged=False)  # Nobody will get to know of them.
            raise
        source.outbox.kick()
        return taken

    def flush(self, queue: str) -> None:
        self._serving(queue)
        self._wire.ask(("PING",))  # settlements go before what is asked after them

    def purge(self, queue: str) -> int:
        target = self._serving(queue)
        removed = cast(int, self._ask(target, "purge"))
        target.outbox.kick()
        return removed

    def _operator(self, queue: RedisQueue) -> Holder:
        holder = self._operators.get(queue.name)
        if holder is None:
            holder = Holder(next(self._names), queue.outbox, self._move, 0)
            self._operators[queue.name] = holder
        return holder

    def _hold(self, holder: Holder, items: Sequence[Item]) -> list[RedisDelivery]:
        now = self._clock.monotonic()
        self._keeper.add(holder, attached=False)
        return [holder.take_over(item, now) for item in items]

    def _serving(self, queue: str) -> RedisQueue:
        self._check_running()
        found = self._queues.get(queue)
        if found is None:
            raise QueueNotFound(queue)
        return found

    def _check_running(self) -> None:
        if not self._running:
            raise stopped()

    def _new_queue(self, queue: QueueConfig) -> RedisQueue:
        # The braces are a hash tag: all keys of a queue live in one slot of a cluster.
        base = f"{self._prefix}:{{{queue.queue_name}}}"
        log = self._log.bind(queue=queue.id)
        outbox = Outbox(queue.id, base, self._server, self._wire, self._clock, log)
        return RedisQueue(queue.queue_name, outbox)

    def _ask(self, queue: RedisQueue, verb: str, *arguments: str | bytes | int) -> object:
        """Runs a verb on a queue, again after restoring one that the server has lost."""
        command = queue.outbox.script(verb, *arguments)
        return self._ask_declared(queue, command)

    def _ask_declared(self, queue: RedisQueue, command: Sequence[str | bytes | int]) -> object:
        try:
            return self._wire.ask(command)
        except Undeclared:
            queue.outbox.restore()  # on its way before the command comes again
            return self._wire.ask(command)

    def _move(
        self, outbox: Outbox, priority: bytes, entry: bytes, queue: str, message: Message
    ) -> None:
        target = self._serving(queue)
        keys = outbox.base, target.outbox.base
        meta = encode_meta(message)
        command = self._server.script(
            "move", keys, priority, entry, priority_of(message), message.body, meta
        )
        self._ask_declared(target, command)

    def _check_server(self) -> None:
        """Refuses a server that is too old, and warns of one that may drop messages."""
        facts = _facts(self._wire.ask(("INFO", "server")))
        facts |= _facts(self._wire.ask(("INFO", "memory")))
        version = facts.get("redis_version", "0")
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_VERSION:
            raise WippyError(
                f"Redis {version} is too old: 6.2 is the first that works",
                kind=Kind.INVALID,
                retryable=False,
            )
        policy = facts.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            self._log.warning(
                "the server may evict messages when its memory is full", maxmemory_policy=policy
            )


def _facts(reply: object) -> dict[str, str]:
    lines = cast(bytes, reply).decode(errors="replace").splitlines()
    return {name: value for name, _, value in (line.partition(":") for line in lines)}
