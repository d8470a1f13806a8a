"""What travels: a Message, and a Delivery, one attempt to hand it to a consumer."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import TypeAlias

import msgspec

Header: TypeAlias = str | bool | int | float

#: Headers with a counterpart in brokers; a driver maps them both ways.
NEUTRAL_HEADERS = frozenset(
    {
        "priority",
        "correlation_id",
        "reply_to",
        "content_type",
        "message_type",
        "encoding",
        "traceparent",
        "tracestate",
    }
)

#: Keys that begin so belong to the host; a publisher may not set them.
RESERVED_PREFIX = "x_"

JSON = "application/json"
MSGPACK = "application/msgpack"
TEXT = "text/plain"
BINARY = "application/octet-stream"


class Message(msgspec.Struct, frozen=True, gc=False):
    """A message as it was published; never changed, copied with `msgspec.structs.replace`.

    `published_at` is Unix time in seconds.
    """

    id: str
    body: bytes
    content_type: str
    headers: Mapping[str, Header]
    published_at: float


def priority_of(message: Message) -> int:
    """Returns the broker priority, 0 to 9; any other `priority` header is carried but means 0."""
    value = message.headers.get("priority", 0)
    return value if type(value) is int and 0 <= value <= 9 else 0


def header_number(value: int) -> int | float:
    """Returns an integer of 64 bits as it is, and any other as the nearest float: so Lua has it."""
    if -(2**63) <= value < 2**63:
        return value
    try:
        return float(value)
    except OverflowError:
        return inf if value > 0 else -inf


class Delivery:
    """One attempt to hand a message to a consumer. Each driver has its subclass.

    A delivery is settled by exactly one of `ack`, `release` and `move`; called on one that is
    settled, or whose driver has stopped since, they do nothing. All may block for one broker call
    or return once the settlement is queued for the wire, and raise `WippyError` when the broker
    cannot be reached: the message then comes back by itself.
    """

    __slots__ = ("attempt", "message", "settled")

    def __init__(self, message: Message, attempt: int) -> None:
        self.message = message
        #: 1 for the first delivery; counted by the driver, so that a crash is counted too.
        self.attempt = attempt
        #: Set by the host once somebody has decided; drivers don't read it.
        self.settled = False

    def ack(self) -> None:
        """Removes the message from its queue."""
        raise NotImplementedError

    def release(self, delay: float, charged: bool) -> None:
        """Makes the message available again at the back of its queue after `delay` seconds.

        `charged`: the attempt counts; otherwise the next delivery has the same number.
        Always finds room, however full the queue is.
        """
        raise NotImplementedError

    def move(self, queue: str, message: Message) -> None:
        """Puts `message` on another queue of the same driver and removes this one.

        Both happen or neither, or, where the driver has no transaction, the copy goes first.
        The target's bound on length does not apply, and the copy never expires. Raises
        `QueueNotFound` and leaves the delivery unsettled when there is no such queue.
        """
        raise NotImplementedError

    def extend(self, seconds: float) -> None:
        """Keeps a lease for at least `seconds` from now; nothing to do where there is none."""
        raise NotImplementedError
