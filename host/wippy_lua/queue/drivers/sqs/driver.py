"""The SQS driver: queues by ID, and the greenlet that keeps leases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, inf
from typing import Final

import gevent
from gevent import monkey

from wippy_lua.clock import Clock
from wippy_lua.errors import Kind, WippyError
from wippy_lua.log import Log
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.driver import Attachment, Capabilities, QueueInfo, Seen, Sink
from wippy_lua.queue.drivers.options import conflict
from wippy_lua.queue.drivers.sqs.api import Api, Settings, stopped
from wippy_lua.queue.drivers.sqs.declare import declare
from wippy_lua.queue.drivers.sqs.delivery import SqsAttachment
from wippy_lua.queue.drivers.sqs.queue import SqsQueue, check_not_fifo, find_queue
from wippy_lua.queue.drivers.sqs.wire import Stored
from wippy_lua.queue.message import Delivery, Message

#: Of standard queues. A FIFO queue has no delay of a message, and charges every release.
CAPABILITIES: Final = Capabilities(
    priority=False,
    max_length=False,
    atomic_move=False,
    # It stays where SQS has it; only a copy goes to the back, and standard queues have no order.
    redelivers_at_tail=False,
    exact_info=False,
    browse=False,
)

#: Seconds for settlements to reach SQS when the driver stops, and when an operator waits for them.
DRAIN_SECONDS: Final = 5.0
FLUSH_SECONDS: Final = 10.0

#: Seconds for a poll to end by itself. One that waits for messages may take its `wait_time`, which
#: is too long to wait for; one that is being answered should not be torn.
POLL_END_SECONDS: Final = 0.2

#: How often in a lease its deliveries are looked at.
LOOKS: Final = 3


class SqsDriver:
    """Speaks to SQS in one region, or to what looks like it at `endpoint`."""

    capabilities = CAPABILITIES

    def __init__(self, settings: Settings, clock: Clock, log: Log) -> None:
        self._settings = settings
        self._clock = clock
        self._log = log
        self._api = Api(settings)
        self._queues: dict[str, SqsQueue] = {}
        self._by_name: dict[str, SqsQueue] = {}
        self._attachments: set[SqsAttachment] = set()
        self._keeper: gevent.Greenlet[..., None] | None = None

    @property
    def connected(self) -> bool:
        """Whether the last call that had an outcome reached SQS and was let in."""
        return self._keeper is not None and self._api.reachable

    @property
    def reconnects(self) -> int:
        return self._api.recoveries

    def start(self) -> None:
        """Gets ready to call SQS.

        Calls nothing: there is no call that every set of permissions allows, and declaring a
        queue is what tells whether they are right.
        """
        if self._keeper is not None:
            return
        if not monkey.is_module_patched("socket"):
            raise WippyError(
                "the sqs driver would block this process: call gevent.monkey.patch_all() first"
                " thing in it, before other imports",
                kind=Kind.INVALID,
                retryable=False,
            )
        self._api.open()
        self._keeper = gevent.spawn(self._keep_leases)

    def stop(self) -> None:
        """Ends polls, gives back what is held and sends what waits, within some seconds."""
        if self._keeper is None:
            return
        self._keeper.kill()
        self._keeper = None
        try:
            self._end_polls()
            for queue in self._by_name.values():
                queue.halt()
            drains = [gevent.spawn(q.drain, DRAIN_SECONDS) for q in self._by_name.values()]
            gevent.joinall(drains, raise_error=True)
        finally:
            self._api.close()

    def declare_queue(self, queue: QueueConfig) -> None:
        self._check_running()
        place = declare(queue, self._api)
        known = self._by_name.get(place.name)
        if known is None:
            known = SqsQueue(place, self._api, self._settings, self._find, self._clock, self._log)
            self._by_name[place.name] = known
        elif known.place.group != place.group:
            raise conflict(
                queue,
                {"message_group_id": known.place.group},
                {"message_group_id": place.group},
            )
        known.place = place
        self._queues[queue.id] = known

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
        now = self._clock.time()
        expires = inf if ttl is None else now + ttl
        wait: int | None = None
        due = 0.0
        if delay > 0:
            check_not_fifo(target, "delay")
            wait = min(ceil(delay), self._settings.longest_delay)
            due = now + delay if delay > wait else 0.0
        stored = [Stored(message, 0, expires, due) for message in messages]
        target.publish(stored, wait, timeout)

    def attach(self, queue: str, credit: int, deliveries: Sink) -> Attachment:
        source = self._serving(queue)
        attachment = SqsAttachment(
            source,
            credit,
            deliveries,
            self._settings.wait_time,
            self._log.bind(queue=queue),
            self._attachments.discard,
        )
        self._attachments.add(attachment)
        return attachment

    def info(self, queue: str) -> QueueInfo:
        return self._serving(queue).info()

    def peek(self, queue: str, limit: int) -> list[Message]:  # noqa: ARG002 - the contract's
        """Raises WippyError of kind INVALID: whoever looks at a message on SQS receives it."""
        self._serving(queue)
        raise _not_without_taking()

    def browse(self, queue: str) -> Iterator[Seen]:
        self._serving(queue)
        raise _not_without_taking()

    def pick(self, queue: str, seen: Sequence[Seen]) -> list[Delivery]:  # noqa: ARG002 - the contract's
        self._serving(queue)
        raise _not_without_taking()

    def take(self, queue: str, limit: int) -> list[Delivery]:
        return list(self._serving(queue).take(limit, self._short_wait))

    def flush(self, queue: str) -> None:
        self._serving(queue).flush(FLUSH_SECONDS)

    def purge(self, queue: str) -> int:
        return self._serving(queue).purge(self._short_wait)

    @property
    def _short_wait(self) -> int:
        """Seconds of a poll whose emptiness means something: without any, SQS asks few servers."""
        return min(1, self._settings.wait_time)

    def _end_polls(self) -> None:
        readers = [attachment.reader for attachment in self._attachments]
        for attachment in tuple(self._attachments):
            attachment.detach()
        gevent.joinall(readers, timeout=POLL_END_SECONDS)
        # What a killed poll would have brought comes back by itself, with an attempt spent.
        gevent.killall(readers)
        self._attachments.clear()

    def _keep_leases(self) -> None:
        while True:
            self._clock.sleep(self._settings.visibility_timeout / LOOKS)
            for queue in tuple(self._by_name.values()):
                queue.renew()

    def _check_running(self) -> None:
        if self._keeper is None:
            raise stopped()

    def _serving(self, queue: str) -> SqsQueue:
        self._check_running()
        return self._find(queue)

    def _find(self, queue: str) -> SqsQueue:
        return find_queue(self._queues, queue)


def _not_without_taking() -> WippyError:
    return WippyError(
        "SQS cannot show a message without handing it out, which spends an attempt:"
        " take it instead",
        kind=Kind.INVALID,
        retryable=False,
    )
