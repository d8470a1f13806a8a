"""The seam between the host and brokers: what a driver does, and what it cannot.

Drivers move bytes. They know nothing of Lua, functions, retries or policies; what becomes of a
message is decided in `settle.py` and told to the delivery. `wippy_lua.testing.DriverSuite` is
this contract as tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.message import Delivery, Message


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a driver can do. A driver states what it cannot; `False` is refused at start."""

    delay: bool = True
    priority: bool = True
    ttl: bool = True
    max_length: bool = True
    #: Messages outlive the process.
    durable: bool = True
    #: `release(0, charged=False)` gives the attempt back.
    uncharged_release: bool = True
    #: `move` is one transaction.
    atomic_move: bool = True
    #: Redelivered messages go to the back of the queue.
    redelivers_at_tail: bool = True
    #: `info` is exact at every moment and tells every field.
    exact_info: bool = True
    #: `peek`, `browse` and `pick`: messages can be looked at without being taken.
    browse: bool = True


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """Counts of one queue at one moment; None where the broker cannot tell.

    `message_count` is `ready + in_flight + delayed`. `oldest_age` is seconds since the oldest
    message that is not settled was published, None when there is none.
    """

    ready: int
    message_count: int | None = None
    in_flight: int | None = None
    delayed: int | None = None
    consumer_count: int | None = None
    oldest_age: float | None = None
    approximate: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """A ready message that was looked at; `place` is its driver's own way to find it again."""

    message: Message
    place: object


class Sink(Protocol):
    """Where a driver puts deliveries: a consumer's buffer. `put` never blocks."""

    def put(self, item: Delivery) -> None: ...


class Attachment(Protocol):
    """A consumer's subscription to one queue."""

    @property
    def connected(self) -> bool:
        """Whether deliveries can come, as far as is known by now; false once detached.

        Asks nobody: a connection that broke silently counts until the driver has noticed.
        """

    def detach(self) -> None:
        """Stops new deliveries; idempotent. What was delivered can still be settled."""


class Driver(Protocol):
    """One broker connection with its queues. All methods are safe from any greenlet of one hub.

    A `queue` is a queue ID that was declared, else `QueueNotFound`. Two IDs with one `queue_name`
    are one queue, as the broker sees them.
    """

    capabilities: Capabilities

    @property
    def connected(self) -> bool:
        """Whether the broker can be reached, as far as is known by now; false while stopped.

        Asks nobody: a connection that broke silently counts until the driver has noticed.
        """

    @property
    def reconnects(self) -> int:
        """How often what was lost came back, connections of attachments included."""

    def start(self) -> None:
        """Connects; raises `WippyError` when that fails. May be called again after `stop`."""

    def stop(self) -> None:
        """Flushes settlements and disconnects; quiet when never started.

        What is still unsettled comes back to its queue, and a waiting `publish` fails.
        """

    def declare_queue(self, queue: QueueConfig) -> None:
        """Creates the queue, or checks that the existing one has the same properties.

        Idempotent. Raises `WippyError` of kind CONFLICT when they differ (showing both), and of
        kind INVALID for an option that this driver does not know or cannot do. With `declare`
        false it creates nothing and raises `QueueNotFound` when there is no such queue.
        """

    def publish(
        self,
        queue: str,
        messages: Sequence[Message],
        *,
        delay: float = 0.0,
        ttl: float | None = None,
        timeout: float = 10.0,
    ) -> None:
        """Stores all messages; returning means that they are safe by this driver's standard.

        Blocks at most `timeout` seconds for room or for the broker, then raises `QueueFull` or
        `WippyError` of kind TIMEOUT or UNAVAILABLE. When only some were stored it raises
        `PublishError`. `delay` and `ttl` count from now: `ttl` includes the delay and the wait
        for room. Both are refused with kind INVALID where the capability is missing.
        """

    def attach(self, queue: str, credit: int, deliveries: Sink) -> Attachment:
        """Starts delivery: at most `credit` (1 or more) deliveries are unsettled at once."""

    def info(self, queue: str) -> QueueInfo:
        """Returns the queue's counts."""

    def peek(self, queue: str, limit: int) -> list[Message]:
        """Returns up to `limit` ready messages in delivery order and changes nothing.

        A broker that cannot look without taking raises `WippyError` of kind INVALID that says so.
        """

    def browse(self, queue: str) -> Iterator[Seen]:
        """Yields the ready messages in delivery order, and changes nothing.

        What comes or goes meanwhile may be seen or not; nothing is seen twice. Refused as `peek`.
        """

    def pick(self, queue: str, seen: Sequence[Seen]) -> list[Delivery]:
        """Takes messages that were seen, in that order; the others stay where they are.

        What is not ready any more is left out. Refused as `peek`.
        """

    def take(self, queue: str, limit: int) -> list[Delivery]:
        """Takes up to `limit` ready messages, for an operator who repairs a queue."""

    def flush(self, queue: str) -> None:
        """Blocks until the broker has been told how picked and taken messages were settled.

        After it, a crash of this process undoes none of that. Raises `WippyError` when the broker
        cannot be reached.
        """

    def purge(self, queue: str) -> int:
        """Removes all ready and delayed messages; returns how many. In flight ones stay."""
