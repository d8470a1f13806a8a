"""What a transaction is asked to do, and what came of it: data between greenlets and thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

from wippy_lua.errors import WippyError
from wippy_lua.queue.drivers.sqlite.rows import Found, Row

if TYPE_CHECKING:
    from wippy_lua.queue.drivers.sqlite.transaction import Transaction


@dataclass(slots=True, eq=False)
class Publishing:
    """Messages for one queue; `due` 0 is at once, `max_length` None no bound.

    `is_dropped` is set by another thread when nobody waits for it any more.
    """

    queue: int
    rows: Sequence[Row]
    due: float
    expires: float
    max_length: int | None
    is_dropped: bool = False


class Held(NamedTuple):
    """A message as a delivery knows it: which one, and by which claim."""

    queue: int
    id: int
    claim: int


@dataclass(frozen=True, slots=True)
class Release:
    """A message that goes back; `due` 0 is at once."""

    held: Held
    due: float
    charged: bool


@dataclass(frozen=True, slots=True)
class Move:
    """A message that leaves for another queue as `row`."""

    held: Held
    target: int
    row: Row


@dataclass(frozen=True, slots=True)
class Extension:
    """A message that must not come back before `until`, whatever becomes of its process."""

    held: Held
    until: float


class Job:
    """Something else that has to be done in a transaction, and its result or error."""

    __slots__ = ("error", "result", "run")

    def __init__(self, run: Callable[[Transaction], Any]) -> None:
        self.run = run
        self.result: Any = None
        self.error: WippyError | None = None


@dataclass(slots=True)
class Group:
    """What one transaction has to do, at the time `now`.

    `acks` has IDs by queue and claim, `wants` how many messages the consumers of a queue can take.
    """

    now: float
    acks: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    releases: list[Release] = field(default_factory=list)
    moves: list[Move] = field(default_factory=list)
    extensions: list[Extension] = field(default_factory=list)
    publishings: list[Publishing] = field(default_factory=list)
    wants: dict[int, int] = field(default_factory=dict)
    jobs: Sequence[Job] = ()
    #: Let happen what is due, and renew the lease.
    sweep: bool = False


@dataclass(slots=True)
class Report:
    """What came of a group once it was committed.

    `stored` counts messages of each publishing, `freed` are queues in which room was made, `grown`
    those with more that is ready than before, `next_event` is when something will be due.
    """

    stored: list[int]
    claimed: dict[int, list[Found]]
    freed: set[int]
    grown: set[int]
    next_event: float | None


@dataclass(frozen=True, slots=True)
class Lease:
    """This process's row in `leases`, 0 when it has none, and when it was renewed."""

    id: int = 0
    renewed_at: float = -inf
