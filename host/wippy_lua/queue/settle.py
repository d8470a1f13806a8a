"""What becomes of a message after its handler: pure, from an outcome to a decision.

Success   -> Ack
Failure   -> Release after a backoff, or DeadLetter at the last attempt or when not retryable
Nacked    -> the same, with the handler's own delay
Rejected  -> DeadLetter, or Release after the longest backoff where there is no dead letter
Snoozed   -> Release without spending the attempt
Cancelled -> Release without spending the attempt
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias

import msgspec

from wippy_lua.errors import Kind, WippyError
from wippy_lua.queue.config import DeadLetterConfig, Retry
from wippy_lua.queue.message import Header, Message

MAX_ERROR_LENGTH = 1024  #: characters of an error or a stack that a dead letter's headers carry
MAX_STACK_LENGTH = 4096
LONGEST_DELAY = 365 * 86_400.0  #: seconds; durations over a year are errors everywhere


@dataclass(frozen=True, slots=True)
class Success:
    """The handler returned without an error."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The handler raised, returned an error, timed out or could not be called."""

    error: WippyError
    stack: str = ""


@dataclass(frozen=True, slots=True)
class Nacked:
    """The handler called `msg:nack()`; `delay` in seconds, None for the usual backoff."""

    delay: float | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The handler called `msg:reject(reason)`."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Snoozed:
    """The handler called `msg:snooze(delay)`, in seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The handler ended after its cancellation, by itself or interrupted."""


Outcome: TypeAlias = Success | Failure | Nacked | Rejected | Snoozed | Cancelled


@dataclass(frozen=True, slots=True)
class Ack:
    """Remove the message."""


@dataclass(frozen=True, slots=True)
class Release:
    """Give it back after `delay` seconds; `charged` when the attempt counts."""

    delay: float
    charged: bool


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Move it to `queue`, saying why."""

    queue: str
    reason: str
    error: WippyError | None = None
    stack: str = ""


Decision: TypeAlias = Ack | Release | DeadLetter

#: Left out of a copy that has no error of its own: they would tell of an earlier dead-lettering.
_ERROR_HEADERS = frozenset({"x_error_kind", "x_error", "x_error_stack"})

#: The values that have no facts, one of each: the common path compares by identity.
SUCCESS = Success()
ACK = Ack()
GIVE_BACK = Release(delay=0.0, charged=False)


def settle(
    outcome: Outcome,
    attempt: int,
    retry: Retry,
    dead_letter: DeadLetterConfig | None,
    chance: float = 0.5,
) -> Decision:
    """Decides what becomes of a message; `chance` in [0, 1) spreads the backoff by its jitter."""
    match outcome:
        case Success():
            return ACK
        case Cancelled():
            return GIVE_BACK
        case Snoozed(delay):
            return Release(delay, charged=False)
        case Rejected(reason):
            return _reject(reason, retry, dead_letter)
        case Nacked(delay):
            return _retry(attempt, retry, dead_letter, chance, delay=delay)
        case Failure(error, stack):
            return _fail(error, stack, attempt, retry, dead_letter, chance)


def backoff(attempt: int, retry: Retry, chance: float = 0.5) -> float:
    """Returns the seconds to wait after a failed `attempt` (1 is the first)."""
    grown = _grown(attempt, retry)
    spread = 1 + retry.jitter * (2 * chance - 1)
    return min(min(grown, retry.max_delay) * spread, retry.max_delay)


def out_of_attempts(attempt: int) -> Failure:
    """Returns the outcome of a delivery after the last allowed one, which no handler is given."""
    text = (
        f"not handled again: {attempt - 1} attempts ended without an outcome, as when a host dies"
    )
    return Failure(WippyError(text, kind=Kind.INTERNAL))


def dead_letter_message(
    message: Message, decision: DeadLetter, attempt: int, source: str, now: float
) -> Message:
    """Returns the copy that goes to the dead-letter queue, with the `x_` headers that say why."""
    kept = {key: value for key, value in message.headers.items() if key not in _ERROR_HEADERS}
    headers: dict[str, Header] = {
        **kept,
        "x_original_queue": source,
        "x_dead_letter_reason": decision.reason,
        "x_dead_letter_time": datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds"),
        "x_attempts": attempt,
    }
    if decision.error is not None:
        headers["x_error_kind"] = decision.error.kind.value
        headers["x_error"] = decision.error.message[:MAX_ERROR_LENGTH]
        headers["x_error_stack"] = decision.stack[:MAX_STACK_LENGTH]
    return msgspec.structs.replace(message, headers=headers)


def _grown(attempt: int, retry: Retry) -> float:
    try:
        return retry.initial_delay * float(retry.backoff_factor) ** (attempt - 1)
    except OverflowError:
        # A message may be retried for ever, and 2.0 ** 1024 is more than a float holds. The
        # exponent itself is not capped: a factor of 1.01 needs hundreds of attempts to grow.
        return retry.max_delay if retry.initial_delay else 0.0


def _fail(
    error: WippyError,
    stack: str,
    attempt: int,
    retry: Retry,
    dead_letter: DeadLetterConfig | None,
    chance: float,
) -> Decision:
    if error.retryable is False:
        if dead_letter is not None:
            return DeadLetter(dead_letter.queue, "not_retryable", error, stack)
        return Release(retry.max_delay, charged=True)
    delay = _retry_after(error)
    return _retry(attempt, retry, dead_letter, chance, delay=delay, error=error, stack=stack)


def _reject(reason: str, retry: Retry, dead_letter: DeadLetterConfig | None) -> Decision:
    if dead_letter is None:
        return Release(retry.max_delay, charged=True)
    error = WippyError(reason or "rejected by the handler", kind=Kind.INVALID, retryable=False)
    return DeadLetter(dead_letter.queue, "rejected", error)


def _retry(
    attempt: int,
    retry: Retry,
    dead_letter: DeadLetterConfig | None,
    chance: float,
    *,
    delay: float | None,
    error: WippyError | None = None,
    stack: str = "",
) -> Decision:
    if dead_letter is not None and attempt >= dead_letter.max_attempts:
        return DeadLetter(dead_letter.queue, "max_attempts", error, stack)
    return Release(backoff(attempt, retry, chance) if delay is None else delay, charged=True)


def _retry_after(error: WippyError) -> float | None:
    """Returns `details().retry_after` in seconds when it is a usable number."""
    value = (error.details or {}).get("retry_after")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= LONGEST_DELAY else None  # NaN is not either
