from __future__ import annotations

import itertools

import pytest

from wippy_lua.errors import Kind, WippyError
from wippy_lua.supervisor.state import (
    TRANSITIONS,
    Event,
    Restart,
    ServiceState,
    Status,
    may_restart,
    restart_delay,
    start_order,
)

# Written out again on purpose: a slip in the table must not pass by agreeing with itself.
LEGAL = {
    "Unknown": {"start": "Starting"},
    "Starting": {"started": "Running", "fail": "Failed", "exit": "Exited", "stop": "Stopping"},
    "Running": {"fail": "Failed", "exit": "Exited", "stop": "Stopping"},
    "Stopping": {"stopped": "Stopped"},
    "Stopped": {"start": "Starting"},
    "Exited": {"start": "Starting"},
    "Failed": {"start": "Starting", "stop": "Stopping"},
}
PAIRS = list(itertools.product(Status, Event))


def state(status: Status) -> ServiceState:
    return ServiceState(status, None, 0, 1.0)


@pytest.mark.parametrize(("status", "event"), sorted(TRANSITIONS))
def test_a_legal_event_leads_to_its_state(status: Status, event: Event) -> None:
    error = ValueError("why")
    after = state(status).after(event, error=error, restarts=2, now=7.0)
    assert after == ServiceState(Status(LEGAL[status][event]), error, 2, 7.0)


@pytest.mark.parametrize(("status", "event"), [p for p in PAIRS if p[1] not in LEGAL[p[0]]])
def test_an_illegal_event_raises_and_changes_nothing(status: Status, event: Event) -> None:
    before = state(status)
    with pytest.raises(WippyError, match=f"'{event}' is illegal in state {status}") as caught:
        before.after(event, error=ValueError(), restarts=2, now=7.0)
    assert caught.value.kind is Kind.INTERNAL
    assert before == state(status)


def test_the_table_has_every_legal_pair_and_no_other() -> None:
    assert len(TRANSITIONS) == sum(len(events) for events in LEGAL.values())


@pytest.mark.parametrize("status", Status)
def test_only_services_that_run_or_will_are_active(status: Status) -> None:
    assert state(status).active == (status in {"Starting", "Running", "Stopping", "Failed"})


def test_a_program_that_finished_is_up_and_one_that_failed_is_not() -> None:
    assert ServiceState(Status.EXITED, None, 0, 0.0).is_up
    assert not ServiceState(Status.EXITED, ValueError(), 0, 0.0).is_up


def test_delays_grow_by_the_factor_up_to_the_longest() -> None:
    policy = Restart(initial_delay=1.0, max_delay=10.0, backoff_factor=2.0)
    assert [restart_delay(policy, n, 0.5) for n in range(1, 7)] == [1, 2, 4, 8, 10, 10]


@pytest.mark.parametrize(("chance", "delay"), [(0.0, 3.6), (0.5, 4.0), (0.75, 4.2)])
def test_jitter_spreads_a_delay_by_its_share(chance: float, delay: float) -> None:
    assert restart_delay(Restart(jitter=0.1), 3, chance) == pytest.approx(delay)


def test_no_jitter_exceeds_the_longest_delay() -> None:
    assert restart_delay(Restart(max_delay=90.0, jitter=0.5), 50, 0.99) == 90.0


def test_a_service_may_fail_for_ever() -> None:
    assert restart_delay(Restart(), 1_000_000, 0.5) == 90.0
    assert may_restart(Restart(max_attempts=0), 1_000_000, ValueError())


def test_max_attempts_bounds_the_restarts_in_a_row() -> None:
    policy = Restart(max_attempts=2)
    assert [may_restart(policy, n, ValueError()) for n in (1, 2, 3)] == [True, True, False]


@pytest.mark.parametrize(("retryable", "again"), [(True, True), (None, True), (False, False)])
def test_only_an_error_that_says_so_ends_a_service(retryable: bool | None, again: bool) -> None:
    error = WippyError("broken", retryable=retryable)
    assert may_restart(Restart(), 1, error) is again


def test_the_order_has_levels_and_takes_in_what_is_required() -> None:
    requires = {"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": [], "other": ["d"]}
    assert start_order(requires, ["a"]) == [["d"], ["b", "c"], ["a"]]


def test_a_cycle_is_named_in_the_direction_of_its_requirements() -> None:
    requires = {"a": ["b"], "b": ["c"], "c": ["a"]}
    with pytest.raises(WippyError) as caught:
        start_order(requires, ["a"])
    assert caught.value.kind is Kind.INVALID
    cycle = caught.value.message.removeprefix("services require each other: ").split(" -> ")
    assert len(cycle) == 4
    assert all(requires[one] == [other] for one, other in itertools.pairwise(cycle))


def test_a_dependency_that_does_not_exist_is_named_with_who_wants_it() -> None:
    with pytest.raises(WippyError, match="service 'gone', required by a, does not exist") as caught:
        start_order({"a": ["gone"]}, ["a"])
    assert caught.value.kind is Kind.NOT_FOUND
