"""Every outcome, at every attempt, with and without a dead-letter queue."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from wippy_lua.errors import Kind, WippyError
from wippy_lua.queue.config import DeadLetterConfig, Retry
from wippy_lua.queue.message import Message
from wippy_lua.queue.settle import (
    LONGEST_DELAY,
    MAX_ERROR_LENGTH,
    MAX_STACK_LENGTH,
    Ack,
    Cancelled,
    DeadLetter,
    Decision,
    Failure,
    Nacked,
    Outcome,
    Rejected,
    Release,
    Snoozed,
    Success,
    backoff,
    dead_letter_message,
    out_of_attempts,
    settle,
)

RETRY = Retry(initial_delay=1.0, max_delay=10.0, backoff_factor=2.0, jitter=0.0)
DEAD = DeadLetterConfig(queue="app:dead", max_attempts=3)

PLAIN = WippyError("it broke")
RETRYABLE = WippyError("try again", retryable=True)
FINAL = WippyError("never works", retryable=False)
LATER = WippyError("busy", details={"retry_after": 7})
FINAL_LATER = WippyError("no", retryable=False, details={"retry_after": 7})

BACKOFFS: list[Decision] = [Release(delay, charged=True) for delay in (1.0, 2.0, 4.0)]
SLOWEST = Release(10.0, charged=True)


def always(decision: Decision) -> list[Decision]:
    return [decision] * 3


def limited(decision: Decision | list[Decision], last: DeadLetter) -> list[Decision]:
    """What is retried twice and dead-lettered at the third attempt."""
    retries = decision if isinstance(decision, list) else [decision] * 2
    return [*retries[:2], last]


def exhausted(error: WippyError | None = None, stack: str = "") -> DeadLetter:
    return DeadLetter("app:dead", "max_attempts", error, stack)


#: outcome, then the decisions at attempts 1, 2 and 3: without a dead letter, and with one after 3.
TABLE: list[tuple[str, Outcome, list[Decision], list[Decision]]] = [
    ("success", Success(), always(Ack()), always(Ack())),
    (
        "failure",
        Failure(PLAIN, "trace"),
        BACKOFFS,
        limited(BACKOFFS, exhausted(PLAIN, "trace")),
    ),
    (
        "retryable failure",
        Failure(RETRYABLE),
        BACKOFFS,
        limited(BACKOFFS, exhausted(RETRYABLE)),
    ),
    (
        "final failure",
        Failure(FINAL, "trace"),
        always(SLOWEST),
        always(DeadLetter("app:dead", "not_retryable", FINAL, "trace")),
    ),
    (
        "failure with retry_after",
        Failure(LATER),
        always(Release(7.0, charged=True)),
        limited(Release(7.0, charged=True), exhausted(LATER)),
    ),
    (
        "final failure with retry_after",
        Failure(FINAL_LATER),
        always(SLOWEST),
        always(DeadLetter("app:dead", "not_retryable", FINAL_LATER)),
    ),
    ("nack", Nacked(), BACKOFFS, limited(BACKOFFS, exhausted())),
    (
        "nack with a delay",
        Nacked(45.0),
        always(Release(45.0, charged=True)),
        limited(Release(45.0, charged=True), exhausted()),
    ),
    (
        "nack without waiting",
        Nacked(0.0),
        always(Release(0.0, charged=True)),
        limited(Release(0.0, charged=True), exhausted()),
    ),
    (
        "snooze",
        Snoozed(60.0),
        always(Release(60.0, charged=False)),
        always(Release(60.0, charged=False)),
    ),
    (
        "cancelled",
        Cancelled(),
        always(Release(0.0, charged=False)),
        always(Release(0.0, charged=False)),
    ),
]

CASES = [
    pytest.param(outcome, attempt, dead_letter, decisions[attempt - 1], id=f"{name} {attempt} {to}")
    for name, outcome, without, with_dead in TABLE
    for to, dead_letter, decisions in (("retried", None, without), ("limited", DEAD, with_dead))
    for attempt in (1, 2, 3)
]


@pytest.mark.parametrize(("outcome", "attempt", "dead_letter", "decision"), CASES)
def test_each_outcome_has_its_decision(
    outcome: Outcome, attempt: int, dead_letter: DeadLetterConfig | None, decision: Decision
) -> None:
    assert settle(outcome, attempt, RETRY, dead_letter) == decision


@pytest.mark.parametrize("attempt", [1, 2, 3, 50])
def test_a_rejected_message_is_dead_lettered_at_once(attempt: int) -> None:
    decision = settle(Rejected("bad address"), attempt, RETRY, DEAD)
    assert isinstance(decision, DeadLetter)
    assert (decision.queue, decision.reason) == ("app:dead", "rejected")
    assert decision.error is not None
    assert (decision.error.kind, decision.error.message) == (Kind.INVALID, "bad address")


def test_a_rejected_message_without_a_dead_letter_waits_the_longest() -> None:
    assert settle(Rejected(), 1, RETRY, None) == SLOWEST


def test_a_message_past_its_last_attempt_is_dead_lettered() -> None:
    # A host that was killed at attempt 3 leaves a message that arrives as attempt 4.
    decision = settle(out_of_attempts(4), 4, RETRY, DEAD)
    assert isinstance(decision, DeadLetter)
    assert (decision.queue, decision.reason) == ("app:dead", "max_attempts")
    assert decision.error is not None
    assert "3 attempts ended without an outcome" in decision.error.message


def test_success_and_snooze_do_not_mind_the_number_of_attempts() -> None:
    assert settle(Success(), 99, RETRY, DEAD) == Ack()
    assert settle(Snoozed(1.0), 99, RETRY, DEAD) == Release(1.0, charged=False)


@pytest.mark.parametrize("value", [-1, True, "5s", math.nan, math.inf, LONGEST_DELAY + 1, None, {}])
def test_an_unusable_retry_after_means_the_usual_backoff(value: object) -> None:
    error = WippyError("busy", details={"retry_after": value})
    assert settle(Failure(error), 1, RETRY, None) == BACKOFFS[0]


@pytest.mark.parametrize("value", [0, 0.25, 3600, LONGEST_DELAY])
def test_retry_after_may_be_longer_than_any_backoff(value: float) -> None:
    error = WippyError("busy", details={"retry_after": value})
    assert settle(Failure(error), 1, RETRY, None) == Release(float(value), charged=True)


@pytest.mark.parametrize(
    ("attempt", "delay"), [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 10.0), (6, 10.0)]
)
def test_backoff_doubles_up_to_its_maximum(attempt: int, delay: float) -> None:
    assert backoff(attempt, RETRY) == delay


@pytest.mark.parametrize("factor", [2.0, 1000.0, 1e300])
def test_backoff_stays_at_its_maximum_however_often_a_message_failed(factor: float) -> None:
    retry = Retry(initial_delay=0.1, max_delay=30.0, backoff_factor=factor, jitter=0.0)
    assert [backoff(attempt, retry) for attempt in (1000, 100_000)] == [30.0, 30.0]


def test_a_small_factor_reaches_the_maximum_in_the_end() -> None:
    retry = Retry(initial_delay=0.1, max_delay=30.0, backoff_factor=1.01, jitter=0.0)
    delays = [backoff(attempt, retry) for attempt in range(1, 1000)]
    assert all(a <= b for a, b in pairwise(delays))
    assert delays[-1] == 30.0


def test_no_initial_delay_means_no_delay_for_ever() -> None:
    assert backoff(5000, Retry(initial_delay=0.0, jitter=0.0)) == 0.0


@pytest.mark.parametrize(
    ("chance", "delay"), [(0.0, 0.9), (0.25, 0.95), (0.5, 1.0), (0.75, 1.05), (0.999999, 1.1)]
)
def test_jitter_spreads_the_backoff_to_both_sides(chance: float, delay: float) -> None:
    retry = Retry(initial_delay=1.0, max_delay=10.0, jitter=0.1)
    assert backoff(1, retry, chance) == pytest.approx(delay, abs=1e-5)


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999999])
def test_jitter_never_passes_the_maximum(chance: float) -> None:
    retry = Retry(initial_delay=1.0, max_delay=10.0, jitter=0.5)
    assert 5.0 <= backoff(20, retry, chance) <= 10.0


def test_settle_spreads_by_the_chance_it_is_given() -> None:
    retry = Retry(initial_delay=1.0, max_delay=10.0, jitter=0.5)
    early, late = (settle(Nacked(), 1, retry, None, chance) for chance in (0.0, 0.999999))
    assert isinstance(early, Release)
    assert isinstance(late, Release)
    assert (early.delay, late.delay) == pytest.approx((0.5, 1.5), abs=1e-5)


MESSAGE = Message("id-1", b"body", "application/json", {"tenant": 7}, 1_700_000_000.0)


def test_a_dead_letter_says_where_it_came_from_and_why() -> None:
    error = WippyError("it broke", kind=Kind.TIMEOUT)
    decision = DeadLetter("app:dead", "max_attempts", error, "stack traceback")
    copy = dead_letter_message(MESSAGE, decision, 3, "app:tasks", 1_700_000_123.5)
    assert copy.headers == {
        "tenant": 7,
        "x_original_queue": "app:tasks",
        "x_dead_letter_reason": "max_attempts",
        "x_dead_letter_time": "2023-11-14T22:15:23.500+00:00",
        "x_attempts": 3,
        "x_error_kind": "Timeout",
        "x_error": "it broke",
        "x_error_stack": "stack traceback",
    }
    assert (copy.id, copy.body, copy.published_at) == ("id-1", b"body", 1_700_000_000.0)
    assert MESSAGE.headers == {"tenant": 7}


def test_errors_and_stacks_are_cut_to_what_headers_can_carry() -> None:
    decision = DeadLetter("app:dead", "max_attempts", WippyError("e" * 9999), "s" * 9999)
    headers = dead_letter_message(MESSAGE, decision, 1, "app:tasks", 0.0).headers
    assert headers["x_error"] == "e" * MAX_ERROR_LENGTH
    assert headers["x_error_stack"] == "s" * MAX_STACK_LENGTH


def test_a_dead_letter_without_an_error_keeps_none_of_an_earlier_one() -> None:
    first = DeadLetter("app:dead", "max_attempts", PLAIN, "trace")
    once = dead_letter_message(MESSAGE, first, 3, "app:tasks", 0.0)
    twice = dead_letter_message(once, DeadLetter("app:deader", "max_attempts"), 2, "app:dead", 1.0)
    assert not {"x_error", "x_error_kind", "x_error_stack"} & twice.headers.keys()
    assert (twice.headers["x_original_queue"], twice.headers["x_attempts"]) == ("app:dead", 2)
