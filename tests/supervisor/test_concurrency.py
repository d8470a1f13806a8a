from __future__ import annotations

import random
from collections.abc import Callable

import gevent

from tests.supervisor.fakes import PATIENCE, Background, FakeService, Rig, settle
from wippy_lua.clock import SystemClock
from wippy_lua.errors import Kind, WippyError
from wippy_lua.log import NullLog
from wippy_lua.supervisor.state import Exited, Restart, ServiceSpec, Status
from wippy_lua.supervisor.supervisor import Supervisor

REQUIRES = {
    "driver": (),
    "store": (),
    "queue": ("driver",),
    "consumer": ("queue", "store"),
    "program": ("consumer",),
}


class Busy(FakeService):
    """Switches greenlets inside its calls, and now and then does not start or ends by itself."""

    def __init__(self, name: str, events: list[str], dice: random.Random) -> None:
        super().__init__(name, events)
        self.dice = dice
        self.running = False

    def start(self, exited: Exited) -> None:
        self._enter("start")
        try:
            for _ in range(self.dice.randrange(4)):
                gevent.sleep(0)
            if self.dice.random() < 0.1:
                raise WippyError("bad luck")
            self.running = True
            if self.dice.random() < 0.1:
                exited(WippyError("bad luck"))
        finally:
            self.inside -= 1

    def stop(self, timeout: float) -> None:
        self._enter("stop")
        try:
            for _ in range(self.dice.randrange(4)):
                gevent.sleep(0)
        finally:
            self.running = False
            self.inside -= 1


def busy_supervisor(seed: int) -> tuple[Supervisor, dict[str, Busy]]:
    dice = random.Random(seed)
    supervisor = Supervisor(SystemClock(), NullLog(), chance=dice.random)
    services = {name: Busy(name, [], dice) for name in REQUIRES}
    for name, service in services.items():
        spec = ServiceSpec(
            name,
            service,
            frozenset(REQUIRES[name]),
            auto_start=True,
            required=name == "driver",
            restart=Restart(initial_delay=0.001, max_delay=0.002),
        )
        supervisor.add(spec)
    return supervisor, services


def ignore_errors(call: Callable[..., None], *args: str) -> None:
    """Lets pass what a start may raise here: bad luck, or a stop or a missing dependency."""
    try:
        call(*args)
    except WippyError as error:
        if error.kind not in {Kind.CANCELED, Kind.UNAVAILABLE, Kind.UNKNOWN}:
            raise


def test_200_cycles_of_start_stop_start_end_without_deadlock() -> None:
    supervisor, services = busy_supervisor(seed=1)

    def cycle() -> None:
        ignore_errors(supervisor.start)
        supervisor.stop()
        ignore_errors(supervisor.start)

    jobs = [gevent.spawn(cycle) for _ in range(200)]
    assert len(gevent.joinall(jobs, timeout=60)) == 200
    assert all(job.successful() for job in jobs)
    supervisor.stop()
    settle()
    assert not any(service.running for service in services.values())
    assert not any(service.overlapped for service in services.values())


def test_any_mix_of_calls_and_kills_ends_and_a_last_stop_leaves_nothing_running() -> None:
    for seed in range(10):
        supervisor, services = busy_supervisor(seed)
        dice = random.Random(seed)

        def meddle(supervisor: Supervisor = supervisor, dice: random.Random = dice) -> None:
            for _ in range(10):
                name = dice.choice(list(REQUIRES))
                match dice.randrange(5):
                    case 0:
                        ignore_errors(supervisor.start)
                    case 1:
                        supervisor.stop()
                    case 2 | 3:
                        ignore_errors(supervisor.start_service, name)
                    case _:
                        supervisor.stop_service(name)
                gevent.sleep(0)

        jobs = [gevent.spawn(meddle) for _ in range(20)]
        for job in jobs[:5]:
            gevent.sleep(0)
            job.kill(block=False)
        assert len(gevent.joinall(jobs, timeout=60)) == 20
        assert all(job.successful() for job in jobs)
        supervisor.stop()
        settle()
        assert {state.status for state in supervisor.services().values()} <= {
            Status.UNKNOWN,
            Status.STOPPED,
            Status.EXITED,
        }
        assert not any(service.running or service.overlapped for service in services.values())


def test_many_starts_of_one_service_start_it_once(rig: Rig) -> None:
    service = rig.add("a", auto_start=False)
    service.start_gate.clear()
    starts = [Background(lambda: rig.supervisor.start_service("a")) for _ in range(20)]
    service.start_gate.set()
    assert [start.error() for start in starts] == [None] * 20
    assert rig.take_events() == ["a start", "a runs"]


def test_the_end_of_a_service_may_be_told_by_a_callback_of_the_hub(rig: Rig) -> None:
    service = rig.add("a")
    rig.supervisor.start()
    gevent.get_hub().loop.run_callback(service.exited, None)
    with gevent.Timeout(PATIENCE):
        rig.supervisor.join()
    assert rig.state("a").status is Status.EXITED
