"""Whether a host is well: what should run does, hears its broker, and gets its turns."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

import msgspec

from wippy_lua.clock import Clock
from wippy_lua.queue.consumer import Consumer
from wippy_lua.queue.driver import Driver
from wippy_lua.supervisor.state import ServiceState, Status
from wippy_lua.supervisor.supervisor import Supervisor
from wippy_lua.watchdog import HubDelays

#: Seconds that a consumer may take, from its start, until its broker knows of it.
GRACE: float = 2.0

#: Seconds that the hub may have come too late, within the last ten.
LONGEST_DELAY: float = 1.0


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong. There are no error texts: the page is open to everybody."""

    what: str  #: "consumer", "driver", "service" or "hub"
    id: str
    problem: str


class Health:
    """Looks at a host's parts each time that it is asked; `paused` are queues, by ID."""

    def __init__(
        self,
        supervisor: Supervisor,
        consumers: Mapping[str, Consumer],
        drivers: Mapping[str, Driver],
        paused: Container[str],
        delays: HubDelays,
        clock: Clock,
    ) -> None:
        self._supervisor = supervisor
        self._consumers = consumers
        self._drivers = drivers
        self._paused = paused
        self._delays = delays
        self._clock = clock

    def problems(self) -> list[Problem]:
        """Returns what is wrong; nothing is while the host starts, or was stopped on purpose."""
        found = [*self._of_services()]
        late = self._delays.recent
        if late > LONGEST_DELAY:
            found.append(Problem("hub", "", f"stood still for {late:.1f}s in the last 10s"))
        return found

    def missing(self) -> list[Problem]:
        """Returns what has `auto_start` and does not run."""
        states = self._supervisor.services()
        return [
            Problem(self._kind(name), name, states[name].status.value)
            for name in self._supervisor.auto_started()
            if not states[name].is_up
        ]

    def _of_services(self) -> Iterator[Problem]:
        now = self._clock.time()
        for name, state in self._supervisor.services().items():
            problem = failure_of(state)
            if problem is None and state.status is Status.RUNNING:
                problem = self._deafness(name, now - state.since)
            if problem is not None:
                yield Problem(self._kind(name), name, problem)

    def _deafness(self, name: str, age: float) -> str | None:
        """Returns what is wrong with a service that runs, for so many seconds."""
        driver = self._drivers.get(name)
        if driver is not None:
            return None if driver.connected else "disconnected"
        consumer = self._consumers.get(name)
        if consumer is None or consumer.connected or consumer.config.queue in self._paused:
            return None
        if age < GRACE:
            return None
        return "deaf: the connection to its queue is lost"

    def _kind(self, name: str) -> str:
        if name in self._drivers:
            return "driver"
        return "consumer" if name in self._consumers else "service"


def failure_of(state: ServiceState) -> str | None:
    """Returns what is wrong with a service by its state alone, None when nothing is."""
    if state.error is None:
        return None
    match state.status:
        case Status.FAILED:
            return "failed, to be restarted"
        case Status.EXITED:
            return "failed for good"
        case Status.STARTING:
            return "restarting"
        case _:
            return None
