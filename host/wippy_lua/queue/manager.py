"""Queues by ID: which driver holds a queue, and the one way in for every message."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from secrets import token_hex

import msgspec

from wippy_lua.clock import Clock
from wippy_lua.errors import Kind, PublishError, QueueNotFound, WippyError
from wippy_lua.queue.codec import encode
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.driver import Driver, QueueInfo
from wippy_lua.queue.message import RESERVED_PREFIX, Delivery, Header, Message
from wippy_lua.units import parse_duration

MAX_HEADERS = 100
PUBLISH_TIMEOUT = 10.0
NO_HEADERS: dict[str, Header] = {}

#: Puts a message where it belongs and removes that of the delivery.
Move = Callable[[Delivery, Message], None]


class PublishOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a publisher may ask for; delays in seconds or as "1m30s", `timeout` likewise."""

    delay: float | str = 0.0
    ttl: float | str | None = None
    id: str | None = None
    timeout: float | str = PUBLISH_TIMEOUT


DEFAULT_OPTIONS = PublishOptions()


class QueueManager:
    """Every queue of a host. Belongs to one hub; all methods are safe from any greenlet of it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._drivers: dict[str, Driver] = {}
        self._routes: dict[str, tuple[QueueConfig, Driver]] = {}
        #: How many messages of each queue were published here and are safe.
        self.published: dict[str, int] = {}
        # Unique across processes by its first part, cheap by its second.
        self._ids = (f"{prefix}-{n:x}" for prefix in (token_hex(8),) for n in count(1))

    def add_driver(self, driver_id: str, driver: Driver) -> None:
        """Makes a driver known by its entry's ID."""
        self._drivers[driver_id] = driver

    def add_queue(self, config: QueueConfig) -> None:
        """Makes a queue known; `declare` tells its driver."""
        self._routes[config.id] = config, self._drivers[config.driver]
        self.published[config.id] = 0

    def declare(self, queue: str) -> None:
        """Creates the queue at its driver; raises WippyError as `Driver.declare_queue` does."""
        self.driver(queue).declare_queue(self.config(queue))

    def config(self, queue: str) -> QueueConfig:
        """Returns a queue's configuration; raises QueueNotFound."""
        return self._route(queue)[0]

    @property
    def drivers(self) -> Mapping[str, Driver]:
        """Every driver by its entry's ID."""
        return self._drivers

    def driver(self, queue: str) -> Driver:
        """Returns the driver that holds a queue; raises QueueNotFound."""
        return self._route(queue)[1]

    def __iter__(self) -> Iterator[QueueConfig]:
        return iter([config for config, _ in self._routes.values()])

    def message(
        self,
        body: bytes,
        content_type: str,
        headers: dict[str, Header] | None = None,
        message_id: str | None = None,
    ) -> Message:
        """Builds a message, with an ID that no other has unless one is given.

        A `content_type` header beats the type that the body was written as.
        """
        if headers:
            given = headers.get("content_type")
            content_type = given if isinstance(given, str) else content_type
        return Message(
            message_id or next(self._ids),
            body,
            content_type,
            headers or NO_HEADERS,
            self._clock.time(),
        )

    def encode(
        self, queue: str, data: object, headers: dict[str, Header] | None, message_id: str | None
    ) -> Message:
        """Builds a message of a Python value, written by the queue's codec."""
        body, content_type = encode(data, self.config(queue).codec)
        return self.message(body, content_type, check_headers(headers), message_id)

    def publish(
        self, queue: str, messages: Sequence[Message], options: PublishOptions = DEFAULT_OPTIONS
    ) -> None:
        """Hands messages to their driver; returning means that they are safe there.

        Raises QueueNotFound, WippyError of kind INVALID for a body over the queue's
        `max_message_size` or an option out of range, and what `Driver.publish` raises.
        """
        config, driver = self._routes.get(queue) or self._route(queue)
        for message in messages:
            if len(message.body) > config.max_message_size:
                raise _too_large(message, config)
        try:
            if options is DEFAULT_OPTIONS:
                driver.publish(queue, messages)
            else:
                driver.publish(
                    queue,
                    messages,
                    delay=_seconds("delay", options.delay),
                    ttl=None if options.ttl is None else _seconds("ttl", options.ttl),
                    timeout=_seconds("timeout", options.timeout),
                )
        except PublishError as error:
            self.published[queue] += len(messages) - len(error.failed)
            raise
        self.published[queue] += len(messages)

    def info(self, queue: str) -> QueueInfo:
        """Returns a queue's counts; raises QueueNotFound."""
        return self.driver(queue).info(queue)

    def _route(self, queue: str) -> tuple[QueueConfig, Driver]:
        try:
            return self._routes[queue]
        except KeyError:
            raise QueueNotFound(queue) from None

    def dead_letter_move(self, config: QueueConfig) -> Move:
        """Returns how a dead letter of this queue travels."""
        if config.dead_letter is None:
            raise ValueError(f"{config.id} has no dead-letter queue")
        return self.way(config.id, config.dead_letter.queue)

    def way(self, source: str, target: str) -> Move:
        """Returns how a message travels from one queue to another.

        On one driver it is the driver's own move. Between two it is copied, then acked: a crash
        between the two repeats a message and loses none.
        """
        if self.driver(target) is self.driver(source):
            return lambda delivery, message: delivery.move(target, message)

        def copy_then_ack(delivery: Delivery, message: Message) -> None:
            self.publish(target, (message,))
            delivery.ack()

        return copy_then_ack


def check_headers(headers: dict[str, Header] | None) -> dict[str, Header]:
    """Returns the headers; raises WippyError of kind INVALID for what no broker could carry."""
    if not headers:
        return NO_HEADERS
    if len(headers) > MAX_HEADERS:
        raise WippyError(
            f"{len(headers)} headers are over the limit of {MAX_HEADERS}", kind=Kind.INVALID
        )
    for key, value in headers.items():
        if not isinstance(key, str) or not key:
            raise WippyError(f"header key {key!r} is not a non-empty string", kind=Kind.INVALID)
        if key.startswith(RESERVED_PREFIX):
            raise WippyError(
                f"header {key!r}: keys that begin with {RESERVED_PREFIX!r} are reserved",
                kind=Kind.INVALID,
            )
        if not isinstance(value, str | bool | int | float):
            raise WippyError(
                f"header {key!r} must be a string, number or boolean, not {type(value).__name__}",
                kind=Kind.INVALID,
            )
    return headers


def _seconds(name: str, value: float | str) -> float:
    try:
        return parse_duration(value)
    except ValueError as error:
        raise WippyError(f"option {name}: {error}", kind=Kind.INVALID) from error


def _too_large(message: Message, config: QueueConfig) -> WippyError:
    return WippyError(
        f"the body has {len(message.body)} bytes, over the max_message_size"
        f" of {config.id}, {config.max_message_size}",
        kind=Kind.INVALID,
        retryable=False,
        details={"size": len(message.body), "max_message_size": config.max_message_size},
    )
