"""Queues at the broker: declared, checked, counted, and the ladders that delays wait on.

AMQP has no delays. A message that has to wait goes to a queue beside its own, one for each step of
a fixed ladder, where it expires after that step and is dead-lettered back, at least once. A step
has a queue of its own because a TTL is looked at only at the head of a queue; each queue has a
ladder of its own so that it can be counted and purged. Steps are created when first used.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import gevent
from gevent.lock import Semaphore

from wippy_lua.errors import Kind, QueueNotFound, WippyError
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.drivers.amqp.channel import BrokerError, Channel, unavailable
from wippy_lua.queue.drivers.amqp.connection import Connection
from wippy_lua.queue.drivers.amqp.publisher import Deadline
from wippy_lua.queue.drivers.amqp.settings import QueueType
from wippy_lua.queue.drivers.amqp.wire import MAX_SHORT
from wippy_lua.queue.drivers.options import check_known, integer, invalid, max_length_of

HIGHEST_PRIORITY: Final = 9
OPTIONS: Final = ("max_length", "max_priority", "queue_type")

#: From 4.0 on a quorum queue drops what it has delivered 20 times. How often is often enough is
#: said by `dead_letter`; a number that is never reached is the same for every version, while -1 is
#: refused by those before 4.0, and none would be another property of the queue after an upgrade.
NO_DELIVERY_LIMIT: Final = 2**31 - 1

_STEPS: Final = (
    *("100ms", "200ms", "500ms", "1s", "2s", "3s", "5s", "10s", "20s", "30s"),
    *("1m", "2m", "5m", "10m", "20m", "30m", "1h", "2h", "4h", "8h", "12h"),
    *("1d", "2d", "4d", "7d", "14d", "30d", "45d"),
)
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

ROOM_FRESH: Final = 0.05  #: seconds for which a count is believed
ROOM_PAUSE: Final = 0.01  #: seconds between two looks at a full queue, at first
ROOM_LONGEST_PAUSE: Final = 0.1


def _seconds(step: str) -> float:
    number = step.rstrip("msdh")
    return round(int(number) * _UNITS[step.removeprefix(number)], 3)


#: Seconds of each step, ascending, and its name.
LADDER: Final = tuple((_seconds(step), step) for step in _STEPS)
FIRST_STEP: Final = _STEPS[0]
LONGEST_DELAY: Final = LADDER[-1][0]


def step_for(delay: float) -> str:
    """Returns the step that a delay is rounded up to; the last one for all that is longer."""
    # A delay is a sum of floats, and the step that it means may be a hair below it.
    index = bisect_left(LADDER, (delay - 1e-6, ""))
    return LADDER[min(index, len(LADDER) - 1)][1]


def step_queue(queue: str, step: str) -> str:
    """Returns the broker's name of the queue in which messages for `queue` wait out a step."""
    return f"{queue}.delay.{step}"


@dataclass(frozen=True, slots=True)
class Options:
    """What a queue was asked to be; `max_length` None is no bound, `max_priority` 0 no priority."""

    queue_type: QueueType
    max_length: int | None
    max_priority: int

    @property
    def arguments(self) -> dict[str, object]:
        """What the broker is told; `max_length` is not: it would keep out what is released."""
        if self.queue_type == "quorum":
            return {"x-queue-type": "quorum", "x-delivery-limit": NO_DELIVERY_LIMIT}
        arguments: dict[str, object] = {"x-queue-type": "classic"}
        if self.max_priority:
            arguments["x-max-priority"] = self.max_priority
        return arguments


def read_options(queue: QueueConfig, default_type: QueueType) -> Options:
    """Returns a queue's options; raises WippyError of kind INVALID."""
    check_known(queue, "amqp", OPTIONS)
    queue_type = queue.options.get("queue_type", default_type)
    if queue_type not in ("quorum", "classic"):
        raise invalid(
            queue, "queue_type", f"queue_type must be quorum or classic, not {queue_type!r}"
        )
    classic = queue_type == "classic"
    if "max_priority" in queue.options and not classic:
        raise invalid(queue, "max_priority", "max_priority needs queue_type classic")
    return Options(
        queue_type="classic" if classic else "quorum",
        max_length=max_length_of(queue),
        max_priority=_max_priority(queue) if classic else 0,
    )


def _max_priority(queue: QueueConfig) -> int:
    asked = integer(queue, "max_priority", 0, HIGHEST_PRIORITY)
    return HIGHEST_PRIORITY if asked is None else asked


def check_name(queue: QueueConfig) -> None:
    """Raises WippyError of kind INVALID for a name that AMQP or a step's queue has no room for."""
    longest = max((step_queue(queue.queue_name, step) for step in _STEPS), key=len)
    if len(longest.encode()) > MAX_SHORT:
        raise invalid(queue, "queue_name", f"the queue name is too long for AMQP's {MAX_SHORT}")
    if queue.queue_name.startswith("amq."):
        raise invalid(queue, "queue_name", "names that begin with amq. are RabbitMQ's own")


class Broker:
    """The calls about queues, over the connection that consumes: that one is never blocked."""

    def __init__(self) -> None:
        self._connection: Connection | None = None
        self._channel: Channel | None = None
        self._turn = Semaphore()

    def use(self, connection: Connection | None) -> None:
        """Makes later calls go over this connection."""
        self._connection, self._channel = connection, None

    def declare(self, name: str, arguments: dict[str, object]) -> None:
        """Creates a queue or checks its properties; raises BrokerError of kind CONFLICT."""
        self._call("queue.declare", queue=name, durable=True, arguments=arguments)

    def declare_step(self, queue: str, step: str) -> str:
        """Creates the queue of a step of the ladder, and returns its name."""
        name = step_queue(queue, step)
        arguments: dict[str, object] = {
            "x-queue-type": "quorum",
            "x-message-ttl": round(_seconds(step) * 1000),
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": queue,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-delivery-limit": NO_DELIVERY_LIMIT,
        }
        self.declare(name, arguments)
        return name

    def count(self, name: str) -> tuple[int, int]:
        """Returns how many messages are ready, and how many consumers there are."""
        fields = self._call("queue.declare", queue=name, passive=True)
        return fields["message_count"], fields["consumer_count"]

    def has(self, name: str) -> bool:
        """Tells whether there is such a queue."""
        try:
            self.count(name)
        except BrokerError as error:
            if error.kind is Kind.NOT_FOUND:
                return False
            raise
        return True

    def purge(self, name: str) -> int:
        """Removes what is ready; returns how many."""
        count: int = self._call("queue.purge", queue=name)["message_count"]
        return count

    def _call(self, method: str, **fields: Any) -> dict[str, Any]:
        # One at a time: an error of one call closes the channel under the others.
        with self._turn:
            if self._connection is None:
                raise unavailable("the amqp driver is not started")
            if self._channel is None or not self._channel.is_open:
                self._channel = self._connection.channel()
            return self._channel.call(method, **fields)[1]


class Room:
    """The room in a bounded queue, as far as this host can know: a count, and what it sent since.

    The bound is kept by those who publish and not by the broker, whose own refuses whatever comes,
    released messages too, and on quorum queues only about there. Hosts that publish at the same
    moment can exceed it by what they have on the way.
    """

    def __init__(self, max_length: int, count: Callable[[], int]) -> None:
        self.max_length = max_length
        self._count = count
        self._turn = Semaphore()
        self._room = 0
        self._fresh_until = 0.0
        self._on_the_way = 0

    def take(self, wanted: int, deadline: Deadline) -> int:
        """Waits for room; returns how many of `wanted` may be sent now, 0 when the time is over."""
        if not self._turn.acquire(timeout=deadline.left or 0.001):
            return 0
        try:
            pause = ROOM_PAUSE
            while not self._has_room():
                if not deadline.left:
                    return 0
                gevent.sleep(min(pause, deadline.left))
                pause = min(2 * pause, ROOM_LONGEST_PAUSE)
            taken = min(wanted, self._room)
            self._room -= taken
            self._on_the_way += taken
            return taken
        finally:
            self._turn.release()

    def arrived(self, count: int) -> None:
        """Says that so many of those taken are not on the way any more."""
        self._on_the_way -= count

    def _has_room(self) -> bool:
        now = time.monotonic()
        if self._room <= 0 or now > self._fresh_until:
            # What is on the way may be counted already: then there is more room at the next look.
            self._room = self.max_length - self._count() - self._on_the_way
            self._fresh_until = now + ROOM_FRESH
        return self._room > 0


class AmqpQueue:
    """A queue of the broker, which may be known by several IDs."""

    def __init__(self, config: QueueConfig, options: Options, broker: Broker) -> None:
        self.name = config.queue_name
        self.options = options
        self.is_ours = config.declare
        #: Deliveries that this host has not settled; what others hold, the broker does not tell.
        self.in_flight = 0
        self._broker = broker
        self._steps: set[str] = set()
        self._looked_for_steps = False
        self.room: Room | None = None
        if options.max_length is not None:
            self.room = Room(options.max_length, lambda: broker.count(self.name)[0])

    def declare(self, queue_id: str) -> None:
        """Creates the queue or checks it; forgets which steps there are."""
        self._steps.clear()
        self._looked_for_steps = False
        if not self.is_ours:
            if not self._broker.has(self.name):
                raise QueueNotFound(queue_id)
            return
        try:
            self._broker.declare(self.name, self.options.arguments)
        except BrokerError as error:
            if error.kind is not Kind.CONFLICT:
                raise
            raise _conflict(queue_id, self, error) from error

    def target(self, delay: float) -> str:
        """Returns the broker queue for a message that is to be ready after `delay` seconds."""
        if delay <= 0:
            return self.name
        step = step_for(delay)
        # The first step goes before all others: where it is missing, nobody has to look for them.
        for needed in (FIRST_STEP, step):
            if needed not in self._steps:
                self._broker.declare_step(self.name, needed)
                self._steps.add(needed)
        return step_queue(self.name, step)

    def forget_steps(self) -> None:
        """Lets `target` create again what somebody has deleted."""
        self._steps.clear()

    def steps(self) -> list[str]:
        """Returns the queues of the steps that there are, those that other hosts made too."""
        # Asked once: each that is missing is an error in the broker's log.
        if not self._looked_for_steps:
            if self._has(FIRST_STEP):
                self._steps |= {step for step in _STEPS if step in self._steps or self._has(step)}
            self._looked_for_steps = True
        return [step_queue(self.name, step) for step in _STEPS if step in self._steps]

    def _has(self, step: str) -> bool:
        return self._broker.has(step_queue(self.name, step))


def _conflict(queue_id: str, queue: AmqpQueue, error: BrokerError) -> WippyError:
    return WippyError(
        f"queue {queue_id!r} exists with other properties than {queue.options.arguments}: "
        f"{error.message}; `declare: false` uses it as it is",
        kind=Kind.CONFLICT,
        retryable=False,
        details={"queue": queue_id, "declared": queue.options.arguments, "broker": error.text},
    )
