"""The checker itself: it must see each kind of fault, or a green run would mean nothing."""

from __future__ import annotations

import pytest

from tests.failures.verdict import Handling, Limits, judge

LIMITS = Limits(kills=2, held=2)


def handled(*pairs: tuple[str, int]) -> list[Handling]:
    return [Handling(message, attempt, process=1) for message, attempt in pairs]


def test_a_run_without_faults_has_no_problems() -> None:
    verdict = judge({"a", "b"}, {"a", "b"}, handled(("a", 1), ("b", 1), ("b", 2)), 0, LIMITS)
    assert verdict.problems == ()
    assert (verdict.lost, verdict.duplicates, verdict.charged) == (0, 1, 1)


def test_a_message_whose_publish_did_not_return_may_be_missing_or_there() -> None:
    assert judge({"a", "b"}, {"a"}, handled(("a", 1)), 0, LIMITS).problems == ()
    assert judge({"a", "b"}, {"a"}, handled(("a", 1), ("b", 1)), 0, LIMITS).problems == ()


def test_an_attempt_charged_to_a_message_that_was_only_buffered_is_counted() -> None:
    verdict = judge({"a"}, {"a"}, handled(("a", 3)), 0, LIMITS)
    assert (verdict.duplicates, verdict.charged, verdict.problems) == (0, 2, ())


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [
        ([("a", 1)], "lost: 1, as ['b']"),
        ([("a", 1), ("b", 1), ("c", 1)], "invented: 1, as ['c']"),
        ([("a", 1), ("b", 1), ("b", 1)], "attempts do not grow: 1, as ['b']"),
        ([("a", 2), ("a", 1), ("b", 1)], "attempts do not grow: 1, as ['a']"),
        ([("a", 0), ("b", 1)], "attempts do not grow: 1, as ['a']"),
        ([("a", 4), ("b", 1)], "handled after attempt 3: 1, as ['a']"),
        ([("a", 3), ("b", 4)], "attempts charged: 5, over the bound of 4"),
    ],
)
def test_a_fault_is_named(pairs: list[tuple[str, int]], problem: str) -> None:
    assert problem in judge({"a", "b"}, {"a", "b"}, handled(*pairs), 0, LIMITS).problems


def test_more_duplicates_than_hosts_held_are_a_fault() -> None:
    pairs = [(message, attempt) for message in "abcde" for attempt in (1, 2)]
    verdict = judge(set("abcde"), set("abcde"), handled(*pairs), 0, LIMITS)
    assert "duplicates: 5, over the bound of 4" in verdict.problems


def test_a_message_that_stays_in_the_queue_is_a_fault() -> None:
    verdict = judge({"a"}, {"a"}, handled(("a", 1)), 1, LIMITS)
    assert "left in the queue: 1, over the bound of 0" in verdict.problems


def test_a_message_that_was_stored_twice_is_no_fault_where_a_driver_sends_again() -> None:
    handlings = handled(("a", 1), ("b", 1), ("a", 1), ("b", 2), ("b", 1))
    verdict = judge({"a", "b"}, {"a", "b"}, handlings, 0, Limits(kills=1, held=1, sent=2))
    assert verdict.problems == ()
    assert (verdict.duplicates, verdict.charged, verdict.copies) == (3, 1, 2)


def test_more_messages_stored_twice_than_were_unconfirmed_are_a_fault() -> None:
    handlings = handled(("a", 1), ("b", 1), ("a", 1), ("b", 1))
    verdict = judge({"a", "b"}, {"a", "b"}, handlings, 0, Limits(kills=1, held=2, sent=1))
    assert verdict.problems == ("attempts do not grow: 2, as ['a', 'b']",)


def test_a_dead_letter_is_not_lost_and_nothing_is_handled_after_the_last_attempt() -> None:
    limits = Limits(kills=5, held=2, max_attempts=2)
    verdict = judge({"a", "b"}, {"a", "b"}, handled(("a", 2)), 0, limits, dead={"b"})
    assert (verdict.problems, verdict.buried) == ((), 1)
    verdict = judge({"a"}, {"a"}, handled(("a", 3)), 0, limits, dead={"c"})
    assert verdict.problems == ("invented: 1, as ['c']", "handled after attempt 2: 1, as ['a']")
