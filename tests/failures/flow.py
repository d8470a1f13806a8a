"""Messages that flow between two hosts of this process, both of which outlive every fault."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import gevent

from tests.failures.crash import (
    BURY,
    CONCURRENCY,
    CONSUMER,
    HANDLER,
    MAX_ATTEMPTS,
    PREFETCH,
    PUBLISHERS,
    QUEUE,
    UNDERTAKER,
    Progress,
    Publisher,
)
from tests.failures.places import Broker
from tests.failures.stalls import StallMonitor
from tests.failures.verdict import Handling, Limits, Verdict, judge
from tests.host.apps import write_app
from wippy_lua import Host
from wippy_lua.errors import WippyError
from wippy_lua.log import Log, NullLog

WORK_SECONDS = 0.001
#: Deliveries that the handling host has at most.
HELD = PREFETCH + CONCURRENCY
#: The part of a run in which faults come: after the last one there must be messages to read.
PART = 0.5
#: How drivers say that a connection is no longer there.
NOTICED = ("connection lost", "reading interrupted")


class Record(Progress):
    """The handlings of a host of this process, which are Python calls of its handler."""

    def functions(self) -> Mapping[str, Callable[..., Any]]:
        """Returns the functions of the Lua module `work`."""
        return {"handle": self.handle}

    def handle(self, message: str, attempt: int) -> None:
        """Works a moment, then keeps that it was done."""
        gevent.sleep(WORK_SECONDS)
        self.handlings.append(Handling(message, attempt, process=0))


class Dropping(Publisher):
    """Goes on with the next message when a publish fails; that one may be stored or not."""

    dropped = 0

    def _store(self, message: str) -> None:
        try:
            super()._store(message)
        except WippyError as error:
            if not error.retryable:
                raise
            self.dropped += 1


class Notices(NullLog):
    """Keeps the moments at which a host noticed that a connection was gone."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def bind(self, **_fields: Any) -> Log:
        return self

    def debug(self, msg: str, /, **_fields: Any) -> None:
        self._see(msg)

    def warning(self, msg: str, /, **_fields: Any) -> None:
        self._see(msg)

    def _see(self, msg: str) -> None:
        if msg in NOTICED:
            self.times.append(time.monotonic())

    def seconds_after(self, moment: float) -> float | None:
        """Returns how long after a moment the next notice came; None when none has."""
        return next((at - moment for at in self.times if at >= moment), None)


class Flow:
    """A host that publishes, another that handles, and what both have seen."""

    def __init__(self, broker: Broker, handling: Path, publishing: Path) -> None:
        entries = broker.entry() + QUEUE.format(name=f"flow-{uuid4().hex}")
        self.record = Record()
        self._sends_again = broker.sends_again
        self._notices = [Notices(), Notices()]
        self.stalls = StallMonitor()
        write_app(handling, entries + CONSUMER, handler=HANDLER)
        write_app(publishing, entries + UNDERTAKER, bury=BURY)
        work, graves = {"work": self.record.functions()}, {"graves": self.record.graves()}
        self._handling, self._publishing = (
            Host(path, modules=modules, log=log, log_level="debug")
            for path, modules, log in zip(
                (handling, publishing), (work, graves), self._notices, strict=True
            )
        )

    @contextmanager
    def running(self, messages: int, settling: float = 0.0) -> Iterator[Dropping]:
        """Publishes and handles until the end, or until `drain` has stopped the handling."""
        with self._publishing, self._handling, self.stalls:
            gevent.sleep(settling)
            publisher = Dropping(self._publishing, self.record, messages)
            try:
                yield publisher
            finally:
                publisher.end()

    def drain(self, publisher: Dropping) -> int:
        """Lets all be handled, stops the handling host and returns how many messages are left."""
        self.record.wait_for(publisher.is_done)
        self.record.wait_for(lambda: self.record.has(publisher.recorded))
        self.record.wait_for(lambda: self._handling.info("app:work").message_count == 0)
        self._handling.stop()
        left = self._publishing.info("app:work").message_count
        assert left is not None, "the broker does not count"
        return left

    def noticed_after(self, moment: float) -> float | None:
        """Returns the seconds until both hosts knew of a fault; None while one does not."""
        known = [s for each in self._notices if (s := each.seconds_after(moment)) is not None]
        return max(known) if len(known) == len(self._notices) else None

    def verdict(self, publisher: Dropping, left: int, faults: int) -> Verdict:
        """Judges a run in which each of so many faults hit both hosts."""
        sent = PUBLISHERS if self._sends_again else 0
        limits = Limits(faults, HELD, sent, MAX_ATTEMPTS)
        published = publisher.attempted, publisher.recorded
        return judge(*published, self.record.handlings, left, limits, self.record.dead)
