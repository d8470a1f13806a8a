"""What operations tell and are told: frozen values that travel as JSON just as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from wippy_lua.queue.manager import PUBLISH_TIMEOUT
from wippy_lua.queue.message import Header

#: How a `body` stands for bytes: "json" is any JSON value (of a JSON or MessagePack body), "text" a
#: string, "base64" what is neither.
Encoding: TypeAlias = Literal["json", "text", "base64"]


class QueueStatus(msgspec.Struct, frozen=True):
    """One queue at one moment; a count is None where its broker cannot tell.

    A queue that could not be asked has `error` and no counts.
    """

    id: str
    driver: str  #: ID of the driver's entry
    driver_kind: str  #: such as "queue.driver.redis"
    ready: int | None = None
    in_flight: int | None = None
    delayed: int | None = None
    #: All of them; where the broker tells some only, the sum of those.
    depth: int | None = None
    oldest_age: float | None = None  #: seconds since the oldest message was published
    #: Those that take now; as far as the broker tells, of all processes.
    consumers: int | None = None
    dead_letter_queue: str | None = None
    #: How many are in `dead_letter_queue`, from whichever queue they came.
    dead_letters: int | None = None
    paused: bool | None = None  #: by this host; None where no host runs
    approximate: bool = False
    error: str | None = None


class Death(msgspec.Struct, frozen=True):
    """Why a message is a dead letter; None where its headers do not say."""

    original_queue: str
    reason: str | None = None
    time: str | None = None  #: ISO 8601
    attempts: int | None = None
    error_kind: str | None = None
    error: str | None = None
    stack: str | None = None


class StoredMessage(msgspec.Struct, frozen=True):
    """A message as it lies in a queue; `size` is bytes of its body, `published_at` Unix time."""

    id: str
    content_type: str
    headers: Mapping[str, Header]
    body: Any
    encoding: Encoding
    size: int
    published_at: float
    death: Death | None = None  #: of dead letters


class Publication(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be published: a body in one of the encodings, and the options of a publisher.

    `delay`, `ttl` and `timeout` are seconds, or text such as "1m30s".
    """

    body: Any
    encoding: Encoding = "json"
    headers: dict[str, Header] = {}
    delay: float | str = 0.0
    ttl: float | str | None = None
    timeout: float | str = PUBLISH_TIMEOUT
    id: str | None = None


class Selection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which dead letters: those that satisfy all that is given, the oldest first.

    `match` is headers by name with their values as text: `x_error_kind`, `x_dead_letter_reason`
    and the like as well as the publisher's own. `limit` is at least 1.
    """

    match: dict[str, str] = {}
    ids: tuple[str, ...] = ()
    limit: int | None = None


class Progress(msgspec.Struct, frozen=True):
    """How far an operation on dead letters is; the last one, with `finished`, is its outcome."""

    done: int = 0  #: replayed or dropped; of a dry run, what would have been
    skipped: int = 0  #: did not match and stay
    #: Matched and stay, by the reason.
    left: Mapping[str, int] = {}
    #: How many there were at the beginning (a guess on SQS); a scan ends after so many.
    total: int | None = None
    finished: bool = False
