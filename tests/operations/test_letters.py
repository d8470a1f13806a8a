"""Dead letters on every driver: shown, replayed and dropped, and the others left alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest

from tests.operations.sites import Repair, Site, letter, letters, shown
from wippy_lua.errors import Kind, QueueNotFound, WippyError
from wippy_lua.operations.values import Progress, Selection


def outcome(steps: Iterator[Progress]) -> Progress:
    """Goes through to the end and returns the last report."""
    last = list(steps)[-1]
    assert last.finished
    return last


def test_letters_go_back_as_they_were_published(repair: Repair) -> None:
    [buried] = repair.bury(letter("one", priority=3, correlation_id="c-1"))
    assert outcome(repair.operations.replay("app:dead")) == Progress(1, 0, {}, 1, True)
    [(message, attempt)] = repair.drain("app:tasks")
    assert attempt == 1
    assert message == msgspec.structs.replace(
        buried, headers={"priority": 3, "correlation_id": "c-1"}
    )
    assert repair.drain("app:dead") == []


def test_a_queue_stands_for_its_own_letters(repair: Repair) -> None:
    repair.bury(letter("a"), letter("b", "app:other"), letter("c"), letter("d", "app:other"))
    last = outcome(repair.operations.replay("app:tasks"))
    assert (last.done, last.skipped) == (2, 2)
    assert sorted(repair.bodies("app:tasks")) == ["a", "c"]
    assert sorted(repair.bodies("app:dead")) == ["b", "d"]


def test_what_does_not_match_stays_undamaged_and_in_order(site: Site, repair: Repair) -> None:
    buried = repair.bury(*[letter(str(n), color="red" if n % 3 else "blue") for n in range(30)])
    last = outcome(repair.operations.replay("app:dead", Selection({"color": "blue"})))
    assert (last.done, last.skipped, last.total) == (10, 20, 30)
    left = repair.drain("app:dead")
    stayed = [each for each in buried if each.headers["color"] == "red"]
    key = None if site.name != "sqs" else lambda message: message.id
    found = [message for message, _ in left]
    if key is not None:  # its queues have no order
        stayed, found = sorted(stayed, key=key), sorted(found, key=key)
    assert found == stayed
    assert {attempt for _, attempt in left} == {1}


def test_a_limit_and_ids_choose(repair: Repair) -> None:
    buried = repair.bury(*letters(6))
    ids = (buried[1].id, buried[4].id, "nobody")
    assert outcome(repair.operations.replay("app:dead", Selection(ids=ids))).done == 2
    assert sorted(repair.bodies("app:tasks")) == ["1", "4"]
    last = outcome(repair.operations.replay("app:dead", Selection(limit=3)))
    assert (last.done, last.total) == (3, 3)
    assert len(repair.drain("app:tasks")) == 3
    assert len(repair.drain("app:dead")) == 1


def test_a_dry_run_counts_and_leaves_all(repair: Repair) -> None:
    repair.bury(*letters(5), letter("x", "app:gone"))
    replayed = outcome(repair.operations.replay("app:dead", dry_run=True))
    assert (replayed.done, replayed.left) == (5, {"app:gone is no queue of the app": 1})
    assert outcome(repair.operations.drop("app:dead", dry_run=True)).done == 6
    assert repair.drain("app:tasks") == []
    assert len(repair.drain("app:dead")) == 6


def test_letters_without_a_way_back_stay_and_are_counted(repair: Repair) -> None:
    repair.bury(letter("a"), letter("b", "app:gone"), letter("c", None), letter("d", "app:dead"))
    last = outcome(repair.operations.replay("app:dead"))
    assert last.done == 1
    assert last.left == {
        "app:gone is no queue of the app": 1,
        "without x_original_queue": 1,
        "app:dead is where it is": 1,
    }
    assert sorted(repair.bodies("app:dead")) == ["b", "c", "d"]


def test_letters_are_shown_and_stay(site: Site, repair: Repair) -> None:
    buried = repair.bury(*letters(4), letter("x", "app:other"))
    found = repair.operations.dead_letters("app:tasks")
    assert sorted(found, key=lambda each: each.id) == sorted(
        map(shown, buried[:4]), key=lambda each: each.id
    )
    if site.name != "sqs":
        assert [each.body for each in found] == ["0", "1", "2", "3"]
    assert len(repair.operations.dead_letters("app:dead", Selection(limit=2))) == 2
    left = repair.drain("app:dead")
    assert (len(left), {attempt for _, attempt in left}) == (5, {1})


def test_dropped_letters_are_gone(repair: Repair) -> None:
    repair.bury(*letters(3), letter("x", x_error_kind_of="mine"), letter("y", None))
    last = outcome(repair.operations.drop("app:dead", Selection({"x_error_kind": "Timeout"})))
    assert (last.done, last.skipped) == (4, 1)
    assert repair.bodies("app:dead") == ["y"]


def test_closing_gives_back_what_is_held(repair: Repair) -> None:
    repair.bury(*letters(12))
    steps = repair.operations.replay("app:dead", rate=5.0)
    assert next(steps).done == 0
    assert next(steps).done >= 1
    steps.close()  # type: ignore[attr-defined]
    moved, left = repair.drain("app:tasks"), repair.drain("app:dead")
    assert 1 <= len(moved) <= 3
    assert len(moved) + len(left) == 12
    assert {attempt for _, attempt in left} == {1}


def test_numbers_and_booleans_match_as_in_json(repair: Repair) -> None:
    repair.bury(letter("a", n=7, flag=True), letter("b", n=8, flag=True), letter("c", n=7))
    match = {"n": "7", "flag": "true"}
    assert outcome(repair.operations.replay("app:dead", Selection(match))).done == 1
    assert repair.bodies("app:tasks") == ["a"]


def test_queues_tell_what_is_in_them(site: Site, repair: Repair) -> None:
    repair.bury(*letters(3))
    repair.bury(letter("x", None), queue="app:tasks")
    tasks, dead, other = (repair.operations.queue(f"app:{q}") for q in ("tasks", "dead", "other"))
    assert (tasks.ready, tasks.depth, tasks.dead_letters) == (1, 1, 3)
    assert (dead.ready, dead.dead_letters, dead.dead_letter_queue) == (3, None, None)
    assert (other.ready, other.dead_letters, other.error) == (0, 3, None)
    assert tasks.driver_kind == f"queue.driver.{site.name}"
    assert tasks.approximate is not site.can_look
    assert tasks.paused is (False if site.name == "memory" else None)
    statuses = repair.operations.queues()
    assert [status.id for status in statuses] == ["app:dead", "app:other", "app:tasks"]


def test_peek_shows_or_says_that_it_cannot(site: Site, repair: Repair) -> None:
    buried = repair.bury(*letters(3))
    if not site.can_look:
        with pytest.raises(WippyError, match="cannot show") as caught:
            repair.operations.peek("app:dead", 2)
        assert caught.value.kind is Kind.INVALID
        return
    assert list(repair.operations.peek("app:dead", 2)) == list(map(shown, buried[:2]))


def test_misuse_is_said_at_once(repair: Repair) -> None:
    calls: dict[str, Callable[[], object]] = {
        "app:nowhere": lambda: repair.operations.replay("app:nowhere"),
        "limit": lambda: repair.operations.replay("app:dead", Selection(limit=0)),
        "rate": lambda: repair.operations.replay("app:dead", rate=0.0),
        "peek limit": lambda: repair.operations.peek("app:dead", 1001),
    }
    for name, call in calls.items():
        with pytest.raises(WippyError) as caught:
            call()
        expected = Kind.NOT_FOUND if name == "app:nowhere" else Kind.INVALID
        assert caught.value.kind is expected
    with pytest.raises(QueueNotFound):
        repair.operations.queue("app:nowhere")
