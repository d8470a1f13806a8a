from __future__ import annotations

import pytest

from tests.supervisor.fakes import Background, Rig, settle
from wippy_lua.errors import Kind, WippyError
from wippy_lua.supervisor.state import Status


def test_dependencies_start_first_even_without_auto_start(rig: Rig) -> None:
    rig.add("consumer", ["queue"])
    rig.add("queue", ["driver"], auto_start=False)
    rig.add("driver", auto_start=False)
    rig.add("other", auto_start=False)
    rig.supervisor.start()
    started = ["driver start", "driver runs", "queue start", "queue runs"]
    assert rig.take_events() == [*started, "consumer start", "consumer runs"]
    assert rig.state("other").status is Status.UNKNOWN


def test_one_level_starts_side_by_side(rig: Rig) -> None:
    slow = rig.add("a")
    slow.start_gate.clear()
    rig.add("b")
    rig.add("c", ["a", "b"])
    start = Background(rig.supervisor.start)
    assert rig.take_events() == ["a start", "b start", "b runs"]
    slow.start_gate.set()
    assert start.error() is None
    assert rig.take_events() == ["a runs", "c start", "c runs"]


def test_the_state_tells_since_when(rig: Rig) -> None:
    rig.add("a")
    rig.clock.advance(3.0)
    rig.supervisor.start()
    assert rig.state("a").since == rig.clock.time()
    assert list(rig.supervisor.services()) == ["a"]


def test_a_second_start_leaves_what_runs_alone(rig: Rig) -> None:
    rig.add("a")
    rig.supervisor.start()
    rig.supervisor.start()
    assert rig.take_events() == ["a start", "a runs"]


def test_a_required_service_that_fails_stops_what_was_started(rig: Rig) -> None:
    rig.add("driver")
    error = WippyError("no such vhost")
    rig.add("bad", ["driver"]).start_errors = [error]
    rig.add("never", ["bad"])
    with pytest.raises(WippyError) as caught:
        rig.supervisor.start()
    assert caught.value is error
    assert rig.statuses() == {"driver": "Stopped", "bad": "Stopped", "never": "Unknown"}
    assert rig.take_events()[-1] == "driver stopped"
    assert rig.state("bad").error is error
    assert rig.clock.pending() == 0


def test_a_required_failure_does_not_wait_for_slow_neighbours(rig: Rig) -> None:
    slow = rig.add("slow")
    slow.start_gate.clear()
    rig.add("bad").start_errors = [WippyError("broken")]
    start = Background(rig.supervisor.start)
    error = start.error()
    assert isinstance(error, WippyError)
    assert error.message == "broken"
    assert rig.statuses() == {"slow": "Stopped", "bad": "Stopped"}
    assert "slow interrupted" in rig.events


def test_what_ran_before_a_start_that_failed_goes_on(rig: Rig) -> None:
    rig.add("early", auto_start=False)
    rig.add("bad", ["early"]).start_errors = [WippyError("broken")]
    rig.supervisor.start_service("early")
    with pytest.raises(WippyError, match="broken"):
        rig.supervisor.start()
    assert rig.statuses() == {"early": "Running", "bad": "Stopped"}


def test_an_optional_service_that_fails_is_left_to_its_restarts(rig: Rig) -> None:
    error = WippyError("broker is down")
    rig.add("optional", required=False).start_errors = [error]
    rig.add("other")
    rig.supervisor.start()
    assert rig.statuses() == {"optional": "Failed", "other": "Running"}
    assert rig.state("optional").error is error
    rig.clock.advance(1.0)
    assert rig.state("optional").status is Status.RUNNING
    assert rig.state("optional").error is None


def test_a_start_that_takes_too_long_is_interrupted_and_cleaned_up(rig: Rig) -> None:
    rig.add("slow").start_gate.clear()
    start = Background(rig.supervisor.start)
    rig.clock.advance(9.9)
    assert not start.done
    rig.clock.advance(0.1)
    error = start.error()
    assert isinstance(error, WippyError)
    assert (error.kind, error.retryable) == (Kind.TIMEOUT, True)
    assert error.message == "slow did not start within 10s"
    assert rig.take_events()[:3] == ["slow start", "slow interrupted", "slow stop"]


def test_a_start_that_ignores_its_interruption_is_left_and_not_repeated(rig: Rig) -> None:
    service = rig.add("stubborn", required=False)
    service.start_gate.clear()
    service.stubborn = True
    start = Background(rig.supervisor.start)
    rig.clock.advance(15.0)
    assert start.error() is None
    state = rig.state("stubborn")
    assert state.status is Status.EXITED
    assert "ignores its interruption" in str(state.error)
    service.start_gate.set()
    settle()


def test_a_cycle_is_an_error_before_anything_starts(rig: Rig) -> None:
    rig.add("a", ["b"])
    rig.add("b", ["a"])
    rig.add("c")
    with pytest.raises(WippyError, match="services require each other") as caught:
        rig.supervisor.start()
    assert caught.value.kind is Kind.INVALID
    assert rig.events == []
    rig.supervisor.stop()


def test_a_missing_dependency_is_an_error_before_anything_starts(rig: Rig) -> None:
    rig.add("a", ["gone"])
    with pytest.raises(WippyError) as caught:
        rig.supervisor.start()
    assert caught.value.kind is Kind.NOT_FOUND
    assert rig.events == []
    rig.supervisor.stop()


def test_an_id_is_taken_only_once(rig: Rig) -> None:
    rig.add("a")
    with pytest.raises(WippyError) as caught:
        rig.add("a")
    assert caught.value.kind is Kind.ALREADY_EXISTS


def test_a_service_added_later_starts_with_what_it_requires(rig: Rig) -> None:
    rig.supervisor.start()
    rig.add("driver", auto_start=False)
    rig.add("consumer", ["driver"], auto_start=False)
    rig.supervisor.start_service("consumer")
    assert rig.statuses() == {"driver": "Running", "consumer": "Running"}


def test_start_service_raises_the_error_and_the_restarts_go_on(rig: Rig) -> None:
    error = WippyError("not yet")
    rig.add("a", auto_start=False).start_errors = [error]
    with pytest.raises(WippyError) as caught:
        rig.supervisor.start_service("a")
    assert caught.value is error
    rig.clock.advance(1.0)
    assert rig.state("a").status is Status.RUNNING


def test_start_service_does_not_wait_for_a_pending_restart(rig: Rig) -> None:
    rig.add("a", auto_start=False).start_errors = [WippyError("not yet")]
    with pytest.raises(WippyError):
        rig.supervisor.start_service("a")
    rig.supervisor.start_service("a")
    assert (rig.state("a").status, rig.state("a").restarts) == (Status.RUNNING, 0)
    assert rig.clock.pending() == 0


def test_an_unknown_service_is_not_found(rig: Rig) -> None:
    sup = rig.supervisor
    for call in (sup.start_service, sup.stop_service, sup.status, sup.join):
        with pytest.raises(WippyError) as caught:
            call("gone")
        assert caught.value.kind is Kind.NOT_FOUND


def test_a_program_that_finished_serves_as_dependency_and_is_not_run_again(rig: Rig) -> None:
    program = rig.add("migrate", auto_start=False)
    rig.supervisor.start_service("migrate")
    program.exited(None)
    settle()
    rig.add("consumer", ["migrate"], auto_start=False)
    rig.take_events()
    rig.supervisor.start_service("consumer")
    assert rig.take_events() == ["consumer start", "consumer runs"]


def test_a_killed_start_leaves_nothing_running(rig: Rig) -> None:
    rig.add("driver")
    rig.add("slow", ["driver"]).start_gate.clear()
    start = Background(rig.supervisor.start)
    start.greenlet.kill()
    assert rig.statuses() == {"driver": "Stopped", "slow": "Stopped"}
    assert rig.clock.pending() == 0
