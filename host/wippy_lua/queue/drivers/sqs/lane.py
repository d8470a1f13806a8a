"""Gathers what goes to SQS into batches: one lane for each queue and kind of call.

A lane sends when there is something to send and a sender is free, never after a timer: what comes
while a call is on its way makes the next batch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import gevent
from gevent.event import Event

from wippy_lua.clock import Clock
from wippy_lua.errors import Kind, WippyError
from wippy_lua.queue.drivers.sqs.api import BATCH, stopped

#: Bytes of one call, all entries together.
BATCH_BYTES: Final = 1024 * 1024

#: Seconds to wait after a failed call; doubled with each failure up to the second.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0

Result = WippyError | None
Send = Callable[[Sequence[Mapping[str, Any]]], list[Result]]


class Item:
    """One entry of a batch. `done` is called once with its result, and never blocks.

    After `deadline` (the clock's monotonic time) it is not sent any more. A later item with the
    same `key` takes its place while it waits, and its `done` is then not called.
    """

    __slots__ = ("deadline", "done", "entry", "error", "key", "size")

    def __init__(
        self,
        key: str,
        entry: Mapping[str, Any],
        deadline: float,
        done: Callable[[Result], None],
        size: int = 0,
    ) -> None:
        self.key = key
        self.entry = entry
        self.deadline = deadline
        self.done = done
        self.size = size
        #: Why it was not sent yet, when it was tried.
        self.error: WippyError | None = None


class Lane:
    """Items in order, and at most `width` greenlets that send them."""

    def __init__(self, send: Send, width: int, clock: Clock) -> None:
        self._send = send
        self._width = width
        self._clock = clock
        self._pending: OrderedDict[str, Item] = OrderedDict()
        self._senders: set[gevent.Greenlet[..., None]] = set()
        self._draining = False
        #: Set to end the pause after a failure.
        self._hurry = Event()

    def __len__(self) -> int:
        return len(self._pending)

    def put(self, item: Item) -> None:
        """Adds an item at the end; returns at once."""
        self._pending[item.key] = item
        self._pending.move_to_end(item.key)
        senders = len(self._senders)
        # A second sender only for a second batch: else they would share what fits in one.
        if senders == 0 or (senders < self._width and len(self._pending) >= BATCH):
            self._senders.add(gevent.spawn(self._run))

    def cancel(self, item: Item) -> None:
        """Takes an item out again; too late for one that is on its way."""
        if self._pending.get(item.key) is item:
            del self._pending[item.key]

    def join(self, timeout: float) -> bool:
        """Waits until everything is sent; tells whether it was within `timeout` seconds."""
        end = self._clock.monotonic() + timeout
        while self._senders and self._clock.monotonic() < end:
            gevent.joinall(tuple(self._senders), timeout=end - self._clock.monotonic())
        return not self._senders

    def drain(self, timeout: float) -> None:
        """Sends everything, without trying anything twice; gives the rest up after `timeout`."""
        self._draining = True
        self._hurry.set()
        try:
            senders = tuple(self._senders)
            gevent.joinall(senders, timeout=timeout)
            gevent.killall(senders)
            while self._pending:
                self._pending.popitem(last=False)[1].done(stopped())
        finally:
            self._draining = False
            self._hurry.clear()

    def _run(self) -> None:
        pause = 0.0
        try:
            while batch := self._take():
                failed = self._try(batch)
                if not failed:
                    pause = 0.0
                    continue
                self._put_back(failed)
                pause = min(max(2 * pause, FIRST_PAUSE), LONGEST_PAUSE)
                self._hurry.wait(pause)
        finally:
            self._senders.discard(gevent.getcurrent())

    def _take(self) -> list[Item]:
        """Removes and returns the next batch; tells those whose time has run out."""
        now = self._clock.monotonic()
        batch: list[Item] = []
        size = 0
        while self._pending and len(batch) < BATCH:
            item = next(iter(self._pending.values()))
            if batch and size + item.size > BATCH_BYTES:
                break
            del self._pending[item.key]
            if item.deadline <= now:
                item.done(item.error or _too_late())
            else:
                batch.append(item)
                size += item.size
        return batch

    def _try(self, batch: list[Item]) -> list[Item]:
        """Sends a batch; returns what is worth another try."""
        failed: list[Item] = []
        for item, error in zip(batch, self._results(batch), strict=True):
            if error is not None and error.retryable and not self._draining:
                item.error = error
                failed.append(item)
            else:
                item.done(error)
        return failed

    def _results(self, batch: list[Item]) -> list[Result]:
        try:
            return self._send([item.entry for item in batch])
        except WippyError as error:
            if error.retryable or len(batch) == 1:
                return [error] * len(batch)
        # SQS refuses a whole call for some faults of one entry; its neighbours did nothing wrong.
        return [self._results([item])[0] for item in batch]

    def _put_back(self, items: list[Item]) -> None:
        for item in reversed(items):
            if item.key not in self._pending:  # One that came since means more.
                self._pending[item.key] = item
                self._pending.move_to_end(item.key, last=False)


def _too_late() -> WippyError:
    return WippyError("sqs: not sent in time", kind=Kind.TIMEOUT, retryable=True)
