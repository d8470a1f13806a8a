from __future__ import annotations

import gevent

from tests.supervisor.fakes import Background, Rig, settle
from wippy_lua.errors import Kind, WippyError
from wippy_lua.supervisor.state import Restart, Status

LOST = WippyError("connection lost")


def test_a_service_that_fails_is_restarted_with_growing_delays(rig: Rig) -> None:
    service = rig.add("a", restart=Restart(initial_delay=1.0, max_delay=3.0))
    rig.supervisor.start()
    for restarts, delay in enumerate([1.0, 2.0, 3.0, 3.0], start=1):
        service.exited(LOST)
        settle()
        assert (rig.state("a").status, rig.state("a").error) == (Status.FAILED, LOST)
        rig.clock.advance(delay - 0.01)
        assert rig.state("a").status is Status.FAILED
        rig.clock.advance(0.01)
        assert (rig.state("a").status, rig.state("a").restarts) == (Status.RUNNING, restarts)


def test_a_failing_restart_counts_on(rig: Rig) -> None:
    service = rig.add("a")
    rig.supervisor.start()
    service.start_errors = [LOST, LOST]
    service.exited(LOST)
    rig.clock.advance(1.0 + 2.0 + 3.99)
    assert rig.state("a").status is Status.FAILED
    rig.clock.advance(0.01)
    assert (rig.state("a").status, rig.state("a").restarts) == (Status.RUNNING, 3)


def test_a_stable_run_starts_the_count_afresh(rig: Rig) -> None:
    service = rig.add("a", restart=Restart(max_attempts=1))
    rig.supervisor.start()
    for _ in range(3):
        rig.clock.advance(5.1)
        service.exited(LOST)
        rig.clock.advance(1.0)
        assert rig.state("a").status is Status.RUNNING


def test_max_attempts_in_a_row_end_the_service(rig: Rig) -> None:
    service = rig.add("a", restart=Restart(max_attempts=2))
    rig.supervisor.start()
    for _ in range(3):
        service.exited(LOST)
        rig.clock.advance(4.0)
    assert (rig.state("a").status, rig.state("a").error) == (Status.EXITED, LOST)
    assert rig.state("a").restarts == 2
    assert rig.clock.pending() == 0


def test_an_error_that_is_not_retryable_ends_the_service(rig: Rig) -> None:
    service = rig.add("a")
    rig.supervisor.start()
    error = WippyError("access refused", retryable=False)
    service.exited(error)
    settle()
    assert (rig.state("a").status, rig.state("a").error) == (Status.EXITED, error)
    assert rig.clock.pending() == 0


def test_a_program_that_finishes_is_not_restarted(rig: Rig) -> None:
    service = rig.add("a")
    rig.supervisor.start()
    service.exited(None)
    settle()
    assert (rig.state("a").status, rig.state("a").error) == (Status.EXITED, None)


def test_a_program_may_finish_before_its_start_returns(rig: Rig) -> None:
    service = rig.add("a")
    service.start_gate.clear()
    start = Background(rig.supervisor.start)
    service.exited(None)
    settle()
    assert rig.state("a").status is Status.STARTING
    service.start_gate.set()
    assert start.error() is None
    settle()
    assert rig.state("a").status is Status.EXITED


def test_the_end_of_an_earlier_run_is_not_taken_for_the_present_one(rig: Rig) -> None:
    service = rig.add("a")
    rig.supervisor.start()
    earlier = service.exited
    rig.supervisor.stop_service("a")
    rig.supervisor.start_service("a")
    earlier(LOST)
    settle()
    assert rig.state("a").status is Status.RUNNING


def test_saying_twice_that_it_ended_counts_once(rig: Rig) -> None:
    service = rig.add("a", restart=Restart(max_attempts=1))
    rig.supervisor.start()
    service.exited(LOST)
    service.exited(LOST)
    settle()
    assert rig.state("a").status is Status.FAILED


def test_a_program_that_ended_can_be_started_again(rig: Rig) -> None:
    service = rig.add("a")
    rig.supervisor.start()
    service.exited(WippyError("bad config", retryable=False))
    settle()
    rig.supervisor.start_service("a")
    assert (rig.state("a").status, rig.state("a").error) == (Status.RUNNING, None)


def test_dependents_keep_running_while_their_dependency_restarts(rig: Rig) -> None:
    driver = rig.add("driver")
    rig.add("consumer", ["driver"])
    rig.supervisor.start()
    rig.take_events()
    driver.exited(LOST)
    rig.clock.advance(1.0)
    assert rig.take_events() == ["driver start", "driver runs"]
    assert rig.statuses() == {"driver": "Running", "consumer": "Running"}


def test_a_service_without_its_dependency_waits_and_spends_no_attempt(rig: Rig) -> None:
    driver = rig.add("driver", required=False)
    driver.start_errors = [LOST, LOST, LOST]
    rig.add("consumer", ["driver"], required=False, restart=Restart(max_attempts=1))
    rig.supervisor.start()
    assert rig.statuses() == {"driver": "Failed", "consumer": "Failed"}
    error = rig.state("consumer").error
    assert isinstance(error, WippyError)
    assert error.kind is Kind.UNAVAILABLE
    assert error.message == "consumer requires driver, which is Failed (connection lost)"
    rig.take_events()
    rig.clock.advance(1.0 + 2.0 + 4.0)
    assert rig.take_events()[-4:] == [
        "driver start",
        "driver runs",
        "consumer start",
        "consumer runs",
    ]


def test_two_dependencies_that_come_up_at_once_wake_a_service_once(rig: Rig) -> None:
    for name in ("one", "two"):
        rig.add(name, required=False).start_errors = [LOST]
    rig.add("consumer", ["one", "two"], required=False)
    rig.supervisor.start()
    rig.take_events()
    starts = [gevent.spawn(rig.supervisor.start_service, name) for name in ("one", "two")]
    gevent.joinall(starts)
    settle()
    assert rig.take_events().count("consumer start") == 1
    assert rig.state("consumer").status is Status.RUNNING


def test_a_dependency_that_failed_for_good_ends_who_waits_for_it(rig: Rig) -> None:
    driver = rig.add("driver", required=False)
    driver.start_errors = [LOST, WippyError("access refused", retryable=False)]
    rig.add("queue", ["driver"], required=False)
    rig.add("consumer", ["queue"], required=False)
    rig.supervisor.start()
    rig.clock.advance(1.0)
    assert set(rig.statuses().values()) == {Status.EXITED}
    rig.supervisor.join()


def test_a_timeout_that_leaks_from_a_service_is_a_failure(rig: Rig) -> None:
    rig.add("a", required=False).start_errors = [gevent.Timeout(3)]
    rig.supervisor.start()
    error = rig.state("a").error
    assert rig.state("a").status is Status.FAILED
    assert isinstance(error, WippyError)
    assert error.kind is Kind.TIMEOUT
