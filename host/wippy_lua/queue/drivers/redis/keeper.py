"""Keeps the leases of what this process holds, and puts back what lost processes held."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, cast

import gevent

from wippy_lua.clock import Clock
from wippy_lua.errors import WippyError
from wippy_lua.log import Log
from wippy_lua.queue.drivers.redis.delivery import Holder, RedisDelivery
from wippy_lua.queue.drivers.redis.entry import GROUP
from wippy_lua.queue.drivers.redis.outbox import Outbox
from wippy_lua.redis.wire import Argument, Call, Undeclared, Wire

#: Rounds within a lease: a delivery is extended when half of its lease is left, at the latest.
ROUNDS: Final = 4
#: Deliveries that one call extends.
CALL_ENTRIES: Final = 500


class Keeper:
    """One greenlet for all queues of a driver."""

    def __init__(self, lease: float, wire: Wire, clock: Clock, log: Log) -> None:
        self._lease = lease
        self._wire = wire
        self._clock = clock
        self._log = log
        self._greenlet: gevent.Greenlet[[], None] | None = None
        self._outboxes: dict[Outbox, None] = {}
        self._holders: set[Holder] = set()
        self._attached: set[Holder] = set()

    def start(self) -> None:
        self._greenlet = gevent.spawn(self._run)

    def stop(self) -> None:
        """Ends the rounds and gives back what is held."""
        if self._greenlet is not None:
            self._greenlet.kill()
            self._greenlet = None
        for holder in self._holders:
            holder.give_back_all()
        self._holders.clear()
        self._attached.clear()

    def watch(self, outbox: Outbox) -> None:
        """Looks after a queue from now on."""
        self._outboxes[outbox] = None

    def add(self, holder: Holder, *, attached: bool) -> None:
        """Looks after what a holder has, until that is settled; `attached` ones are counted."""
        self._holders.add(holder)
        if attached:
            self._attached.add(holder)
            self._wire.submit(self._round(holder.outbox))

    def detach(self, holder: Holder) -> None:
        """Counts a holder no longer as a consumer."""
        self._attached.discard(holder)

    def _run(self) -> None:
        while True:
            self._clock.sleep(self._lease / ROUNDS)
            if self._wire.failure is not None:
                continue  # Rounds that wait for a connection would only pile up.
            for outbox in self._outboxes:
                self._wire.submit(self._round(outbox))
            self._extend()

    def _round(self, outbox: Outbox) -> Call:
        names = [holder.name for holder in self._attached if holder.outbox is outbox]
        lease = round(self._lease * 1000)
        return _Round(outbox.script("keep", lease, *names), outbox, self._log)

    def _extend(self) -> None:
        self._holders = {h for h in self._holders if h.held or h in self._attached}
        now = self._clock.monotonic()
        for holder in self._holders:
            old = [d for d in holder.held if now - d.leased >= self._lease / ROUNDS]
            for key, deliveries in _by_stream(holder.outbox.base, old):
                for start in range(0, len(deliveries), CALL_ENTRIES):
                    chunk = deliveries[start : start + CALL_ENTRIES]
                    self._wire.submit(_Extension(key, holder, chunk, now, self._log))


class _Round(Call):
    __slots__ = ("_command", "_log", "_outbox")

    repeatable = False  # The next one comes soon.

    def __init__(self, command: Sequence[Argument], outbox: Outbox, log: Log) -> None:
        self._command = command
        self._outbox = outbox
        self._log = log

    def command(self) -> Sequence[Argument]:
        return self._command

    def finish(self, reply: object) -> None:
        if reply:
            self._log.warning("messages of a lost consumer put back", count=reply)

    def fail(self, error: WippyError) -> None:
        if isinstance(error, Undeclared):
            self._outbox.restore()
        else:
            self._log.debug("round of leases failed", error=error.message)


class _Extension(Call):
    """Begins the leases of some deliveries anew: XCLAIM leaves out those that are lost."""

    __slots__ = ("_deliveries", "_holder", "_key", "_log", "_now")

    repeatable = False

    def __init__(
        self, key: str, holder: Holder, deliveries: list[RedisDelivery], now: float, log: Log
    ) -> None:
        self._key = key
        self._holder = holder
        self._deliveries = deliveries
        self._now = now
        self._log = log

    def command(self) -> Sequence[Argument]:
        entries = [delivery.entry for delivery in self._deliveries]
        return ("XCLAIM", self._key, GROUP, self._holder.name, 0, *entries, "JUSTID")

    def finish(self, reply: object) -> None:
        kept = set(cast(list[bytes], reply))
        for delivery in self._deliveries:
            if delivery.entry in kept:
                delivery.leased = self._now
            elif delivery in self._holder.held:
                delivery.leased = float("inf")  # Not ours any more: asked for no longer.
                self._log.warning("lease lost", message_id=delivery.message.id)

    def fail(self, error: WippyError) -> None:
        """Leaves it to the next round."""
        self._log.debug("leases not extended", error=error.message)


def _by_stream(
    base: str, deliveries: Iterable[RedisDelivery]
) -> Iterable[tuple[str, list[RedisDelivery]]]:
    streams: defaultdict[bytes, list[RedisDelivery]] = defaultdict(list)
    for delivery in deliveries:
        streams[delivery.priority].append(delivery)
    for priority, of_stream in streams.items():
        yield base if priority == b"0" else f"{base}:{priority.decode()}", of_stream
