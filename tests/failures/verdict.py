"""What a run with crashes must have kept, as algebra on sets: the same for every driver."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Handling:
    """One run of the handler to its end: of which message, at which attempt, in which process."""

    message: str
    attempt: int
    process: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What crashes may cost; `held` is how many deliveries a host has unsettled at most.

    `sent` is how many messages a publisher has sent at most that nobody has confirmed, where a
    driver sends these again and so may store them twice. After `max_attempts` a message is
    dead-lettered.
    """

    kills: int
    held: int
    sent: int = 0
    max_attempts: int | None = None

    @property
    def bound(self) -> int:
        """Attempts that may be spent without an outcome, of all messages together."""
        return self.kills * self.held

    @property
    def copies(self) -> int:
        """Messages that may be there twice."""
        return self.kills * self.sent

    @property
    def last_attempt(self) -> int:
        """The highest attempt at which a message may be handled: each crash charges one at most."""
        most = self.kills + 1
        return most if self.max_attempts is None else min(most, self.max_attempts)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The figures of one run, and the promises that it broke."""

    lost: int
    invented: int
    duplicates: int
    #: Attempts beyond the first, of all messages: a repeated one, and one that was only buffered.
    charged: int
    #: Messages whose attempts began anew: there were two of them, each counted among `duplicates`.
    copies: int
    #: Messages that were dead-lettered.
    buried: int
    #: What `charged` may be, and `duplicates` without `copies`.
    bound: int
    problems: tuple[str, ...]

    @property
    def word(self) -> str:
        return "FAILED" if self.problems else "kept"


def judge(
    attempted: AbstractSet[str],
    recorded: AbstractSet[str],
    handlings: Iterable[Handling],
    left: int,
    limits: Limits,
    dead: AbstractSet[str] = frozenset(),
) -> Verdict:
    """Compares what was published with what was handled.

    `attempted` messages were given to publish, for the `recorded` ones it has returned;
    `handlings` come in the order in which they happened, `left` messages are still in the queue,
    `dead` ones were dead-lettered.
    """
    attempts: defaultdict[str, list[int]] = defaultdict(list)
    for handling in handlings:
        attempts[handling.message].append(handling.attempt)
    there = attempts.keys() | dead
    lost, invented = recorded - there, there - attempted
    duplicates = sum(len(each) - 1 for each in attempts.values())
    charged = sum(max(each) - 1 for each in attempts.values())
    anew = {message for message, each in attempts.items() if not _grow(each)}
    copies = len(anew)
    problems = [
        *_named("lost", lost),
        *_named("invented", invented),
        *_too_many("left in the queue", left, 0),
        *_too_many("duplicates", duplicates - copies, limits.bound),
        *_too_many("attempts charged", charged, limits.bound),
        *_named("attempts do not grow", anew if copies > limits.copies else set()),
        *_named(
            f"handled after attempt {limits.last_attempt}",
            {m for m, each in attempts.items() if max(each) > limits.last_attempt},
        ),
    ]
    figures = (len(lost), len(invented), duplicates, charged, copies, len(dead), limits.bound)
    return Verdict(*figures, tuple(problems))


def _grow(attempts: list[int]) -> bool:
    """Tells whether a message's attempts began at 1 or later and each was a new one."""
    return all(earlier < later for earlier, later in zip([0, *attempts], attempts, strict=False))


def _named(what: str, messages: AbstractSet[str]) -> list[str]:
    return [f"{what}: {len(messages)}, as {sorted(messages)[:5]}"] if messages else []


def _too_many(what: str, count: int, limit: int) -> list[str]:
    return [f"{what}: {count}, over the bound of {limit}"] if count > limit else []
