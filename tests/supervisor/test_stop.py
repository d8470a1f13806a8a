from __future__ import annotations

from functools import partial

import pytest

from tests.supervisor.fakes import Background, Rig, settle
from wippy_lua.errors import Kind, StopTimeout, WippyError
from wippy_lua.supervisor.state import Status

LOST = WippyError("connection lost")


def canceled(error: BaseException | None) -> bool:
    return isinstance(error, WippyError) and error.kind is Kind.CANCELED


def test_stop_goes_in_reverse_one_level_side_by_side(rig: Rig) -> None:
    rig.add("driver")
    slow = rig.add("a", ["driver"])
    rig.add("b", ["driver"])
    rig.supervisor.start()
    rig.take_events()
    slow.stop_gate.clear()
    stop = Background(rig.supervisor.stop)
    assert rig.take_events() == ["a stop", "b stop", "b stopped"]
    assert rig.state("a").status is Status.STOPPING
    slow.stop_gate.set()
    assert stop.error() is None
    assert rig.take_events() == ["a stopped", "driver stop", "driver stopped"]
    assert set(rig.statuses().values()) == {Status.STOPPED}


def test_stop_is_quiet_when_never_started_and_when_repeated(rig: Rig) -> None:
    rig.add("a")
    rig.supervisor.stop()
    rig.supervisor.start()
    rig.supervisor.stop()
    rig.supervisor.stop()
    assert rig.take_events() == ["a start", "a runs", "a stop", "a stopped"]


def test_stop_goes_on_after_errors_and_raises_all_at_the_end(rig: Rig) -> None:
    late = StopTimeout("consumer", 10.0, ["message 1"])
    broken = ValueError("bug")
    rig.add("driver").stop_error = broken
    rig.add("consumer", ["driver"]).stop_error = late
    rig.supervisor.start()
    with pytest.raises(ExceptionGroup) as caught:
        rig.supervisor.stop()
    assert caught.value.exceptions == (late, broken)
    assert rig.take_events()[-1] == "driver stopped"
    assert rig.state("consumer").status is Status.STOPPED
    assert rig.state("consumer").error is late
    rig.supervisor.stop()


def test_a_service_that_does_not_stop_is_interrupted_after_a_grace(rig: Rig) -> None:
    rig.add("driver")
    rig.add("stuck", ["driver"]).stop_gate.clear()
    rig.supervisor.start()
    stop = Background(rig.supervisor.stop)
    rig.clock.advance(14.9)
    assert not stop.done
    rig.clock.advance(0.1)
    error = stop.error()
    assert isinstance(error, ExceptionGroup)
    (late,) = error.exceptions
    assert isinstance(late, StopTimeout)
    assert late.running == ("stuck",)
    assert rig.state("driver").status is Status.STOPPED


def test_stop_cancels_a_pending_restart(rig: Rig) -> None:
    service = rig.add("a")
    rig.supervisor.start()
    service.exited(LOST)
    settle()
    rig.supervisor.stop()
    rig.take_events()
    assert rig.clock.pending() == 0
    rig.clock.advance(100.0)
    assert rig.take_events() == []
    assert (rig.state("a").status, rig.state("a").error) == (Status.STOPPED, LOST)


def test_stop_interrupts_a_restart_in_progress(rig: Rig) -> None:
    service = rig.add("a")
    rig.supervisor.start()
    service.start_gate.clear()
    service.exited(LOST)
    rig.clock.advance(1.0)
    assert rig.state("a").status is Status.STARTING
    rig.supervisor.stop()
    assert rig.state("a").status is Status.STOPPED
    rig.clock.advance(100.0)
    assert rig.state("a").status is Status.STOPPED


@pytest.mark.parametrize("required", [True, False])
def test_stop_during_start_cancels_it(rig: Rig, required: bool) -> None:
    rig.add("driver")
    rig.add("slow", ["driver"], required=required).start_gate.clear()
    rig.add("last", ["slow"], required=required)
    start = Background(rig.supervisor.start)
    rig.supervisor.stop()
    assert canceled(start.error())
    assert rig.statuses() == {"driver": "Stopped", "slow": "Stopped", "last": "Unknown"}
    assert rig.state("slow").error is None
    assert rig.clock.pending() == 0


def test_stop_reports_what_a_cancelled_start_left_unclean(rig: Rig) -> None:
    service = rig.add("slow")
    service.start_gate.clear()
    service.stop_error = StopTimeout("slow", 10.0, ["handshake"])
    start = Background(rig.supervisor.start)
    with pytest.raises(ExceptionGroup) as caught:
        rig.supervisor.stop()
    assert caught.value.exceptions == (service.stop_error,)
    assert canceled(start.error())


def test_nothing_starts_while_stop_is_in_progress(rig: Rig) -> None:
    driver = rig.add("driver")
    driver.stop_gate.clear()
    rig.add("consumer", ["driver"])
    rig.supervisor.start()
    stop = Background(rig.supervisor.stop)
    rig.add("new")
    for name in ("consumer", "new"):
        assert canceled(Background(partial(rig.supervisor.start_service, name)).error())
    assert canceled(Background(rig.supervisor.start).error())
    driver.stop_gate.set()
    assert stop.error() is None
    rig.supervisor.start()
    assert set(rig.statuses().values()) == {Status.RUNNING}


def test_stop_service_stops_its_dependents_first_and_nothing_else(rig: Rig) -> None:
    rig.add("driver")
    rig.add("queue", ["driver"])
    rig.add("consumer", ["queue"])
    rig.add("other", ["driver"])
    rig.supervisor.start()
    rig.take_events()
    rig.supervisor.stop_service("queue")
    stopped = ["consumer stop", "consumer stopped", "queue stop", "queue stopped"]
    assert rig.take_events() == stopped
    assert rig.state("driver").status is Status.RUNNING
    assert rig.state("other").status is Status.RUNNING


def test_order_holds_across_a_dependency_that_has_ended(rig: Rig) -> None:
    rig.add("driver")
    middle = rig.add("middle", ["driver"])
    consumer = rig.add("consumer", ["middle"])
    rig.supervisor.start()
    middle.exited(None)
    settle()
    consumer.stop_gate.clear()
    stop = Background(rig.supervisor.stop)
    assert rig.state("driver").status is Status.RUNNING
    consumer.stop_gate.set()
    assert stop.error() is None
    assert rig.statuses() == {"driver": "Stopped", "middle": "Exited", "consumer": "Stopped"}


def test_a_restart_that_is_due_while_dependents_stop_does_not_happen(rig: Rig) -> None:
    driver = rig.add("driver")
    consumer = rig.add("consumer", ["driver"])
    rig.supervisor.start()
    driver.exited(LOST)
    consumer.stop_gate.clear()
    stop = Background(rig.supervisor.stop)
    rig.take_events()
    rig.clock.advance(2.0)
    assert rig.take_events() == []
    consumer.stop_gate.set()
    assert stop.error() is None
    assert rig.statuses() == {"driver": "Stopped", "consumer": "Stopped"}


def test_two_stops_at_once_both_tell_what_was_unclean(rig: Rig) -> None:
    service = rig.add("a")
    service.stop_gate.clear()
    service.stop_error = StopTimeout("a", 10.0, ["message 1"])
    rig.supervisor.start()
    stops = [Background(rig.supervisor.stop), Background(rig.supervisor.stop)]
    service.stop_gate.set()
    for stop in stops:
        error = stop.error()
        assert isinstance(error, ExceptionGroup)
        assert error.exceptions == (service.stop_error,)
    assert rig.take_events().count("a stop") == 1


def test_an_unclean_stop_is_forgotten_once_the_service_runs_again(rig: Rig) -> None:
    program = rig.add("program")
    program.stop_error = ValueError("bug")
    rig.supervisor.start()
    with pytest.raises(ExceptionGroup):
        rig.supervisor.stop()
    rig.add("consumer", ["program"])
    rig.supervisor.start()
    program.exited(None)
    settle()
    rig.supervisor.stop()


def test_a_service_that_is_being_stopped_refuses_to_start(rig: Rig) -> None:
    service = rig.add("a")
    rig.supervisor.start()
    service.stop_gate.clear()
    stop = Background(partial(rig.supervisor.stop_service, "a"))
    start = Background(partial(rig.supervisor.start_service, "a"))
    assert canceled(start.error())
    service.stop_gate.set()
    assert stop.error() is None
    assert rig.state("a").status is Status.STOPPED


def test_stop_service_cancels_its_start(rig: Rig) -> None:
    rig.add("a", auto_start=False).start_gate.clear()
    start = Background(lambda: rig.supervisor.start_service("a"))
    rig.supervisor.stop_service("a")
    assert canceled(start.error())
    assert rig.state("a").status is Status.STOPPED


def test_stop_service_during_start_spares_what_does_not_require_it(rig: Rig) -> None:
    rig.add("optional", required=False).start_gate.clear()
    rig.add("driver")
    rig.add("consumer", ["driver"])
    start = Background(rig.supervisor.start)
    rig.supervisor.stop_service("optional")
    assert start.error() is None
    assert rig.statuses() == {"optional": "Stopped", "driver": "Running", "consumer": "Running"}


def test_a_killed_stop_interrupts_what_it_waits_for(rig: Rig) -> None:
    service = rig.add("stuck")
    service.stop_gate.clear()
    rig.supervisor.start()
    stop = Background(rig.supervisor.stop)
    stop.greenlet.kill()
    assert rig.state("stuck").status is Status.STOPPED
    service.stop_gate.set()
    rig.supervisor.start()
    assert rig.state("stuck").status is Status.RUNNING


def test_a_kill_while_a_failed_start_is_cleaned_up_leaves_it_stopped(rig: Rig) -> None:
    service = rig.add("a", auto_start=False)
    service.start_errors = [LOST]
    service.stop_gate.clear()
    start = Background(lambda: rig.supervisor.start_service("a"))
    assert rig.take_events() == ["a start", "a stop"]
    start.greenlet.kill(block=False)
    settle()
    service.stop_gate.set()
    start.error()
    assert rig.take_events() == ["a stop", "a stopped"]
    assert not service.overlapped
    assert rig.state("a").status is Status.STOPPED
    rig.supervisor.start_service("a")
    assert rig.state("a").status is Status.RUNNING


def test_join_returns_when_all_programs_have_ended(rig: Rig) -> None:
    one, two = rig.add("one"), rig.add("two")
    rig.supervisor.start()
    join = Background(rig.supervisor.join)
    one.exited(None)
    settle()
    assert not join.done
    two.exited(WippyError("broken", retryable=False))
    assert join.error() is None


def test_join_waits_through_a_restart(rig: Rig) -> None:
    service = rig.add("a")
    rig.supervisor.start()
    join = Background(rig.supervisor.join)
    service.exited(LOST)
    settle()
    assert not join.done
    rig.clock.advance(1.0)
    assert not join.done
    service.exited(None)
    assert join.error() is None


def test_join_of_some_services_does_not_wait_for_others(rig: Rig) -> None:
    program = rig.add("program", ["driver"])
    rig.add("driver")
    rig.supervisor.start()
    join = Background(lambda: rig.supervisor.join("program"))
    program.exited(None)
    assert join.error() is None
    assert rig.state("driver").status is Status.RUNNING


def test_join_returns_after_stop(rig: Rig) -> None:
    rig.add("a")
    rig.supervisor.start()
    join = Background(rig.supervisor.join)
    rig.supervisor.stop()
    assert join.error() is None
