"""A clock that the test moves, services that do as they are told, and a supervisor of them."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable

import gevent
from gevent.event import Event

from wippy_lua.log import NullLog
from wippy_lua.supervisor.state import Exited, Restart, ServiceSpec, ServiceState, Status
from wippy_lua.supervisor.supervisor import Supervisor

PATIENCE = 5.0  #: real seconds after which a test that should go on is deadlocked


def settle() -> None:
    """Lets every greenlet run until all of them wait."""
    for _ in range(30):
        gevent.sleep(0)


class FakeTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback
        self._greenlet: gevent.Greenlet[[], None] | None = None

    def cancel(self) -> None:
        # As strict as the real one, which kills a callback that runs.
        self._callback = None
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def fire(self) -> None:
        if self._callback is not None:
            self._greenlet = gevent.spawn(self._callback)

    @property
    def pending(self) -> bool:
        return self._callback is not None and self._greenlet is None


class FakeClock:
    """Time that passes only in `advance`."""

    def __init__(self) -> None:
        self.now = 0.0
        self._timers: list[tuple[float, int, FakeTimer]] = []
        self._order = itertools.count()

    def time(self) -> float:
        return 1_000_000.0 + self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        over = Event()
        self.call_later(seconds, over.set)
        over.wait()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(callback)
        heapq.heappush(self._timers, (self.now + seconds, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Lets time pass, timer by timer, and everything that follows from each."""
        settle()
        end = self.now + seconds
        while self._timers and self._timers[0][0] <= end:
            at, _, timer = heapq.heappop(self._timers)
            self.now = at
            timer.fire()
            settle()
        self.now = end

    def pending(self) -> int:
        """Returns how many timers would still run."""
        return sum(timer.pending for _, _, timer in self._timers)


class FakeService:
    """Records its calls in `events`; blocks and fails as its attributes say."""

    def __init__(self, name: str, events: list[str]) -> None:
        self.name = name
        self.events = events
        self.exited: Exited = lambda _: None
        self.start_errors: list[BaseException] = []  # one for each start, then it succeeds
        self.stop_error: Exception | None = None
        self.start_gate = Event()
        self.stop_gate = Event()
        self.start_gate.set()
        self.stop_gate.set()
        self.stubborn = False  # ignores interruptions of its start
        self.inside = 0
        self.overlapped = False

    def start(self, exited: Exited) -> None:
        self._enter("start")
        try:
            self.exited = exited
            self._wait(self.start_gate)
            if self.start_errors:
                raise self.start_errors.pop(0)
            self.events.append(f"{self.name} runs")
        finally:
            self.inside -= 1

    def stop(self, timeout: float) -> None:
        self._enter("stop")
        try:
            self.stop_gate.wait()
            self.events.append(f"{self.name} stopped")
            if self.stop_error is not None:
                raise self.stop_error
        finally:
            self.inside -= 1

    def _enter(self, what: str) -> None:
        self.events.append(f"{self.name} {what}")
        self.inside += 1
        self.overlapped |= self.inside > 1

    def _wait(self, gate: Event) -> None:
        try:
            gate.wait()
        except gevent.GreenletExit:
            self.events.append(f"{self.name} interrupted")
            if not self.stubborn:
                raise
            gate.wait()


class Rig:
    """A supervisor with a clock and services for one test; restarts are not jittered."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.events: list[str] = []
        self.supervisor = Supervisor(self.clock, NullLog(), chance=lambda: 0.5)

    def add(
        self,
        name: str,
        requires: Iterable[str] = (),
        *,
        auto_start: bool = True,
        required: bool = True,
        restart: Restart | None = None,
    ) -> FakeService:
        """Adds a fake service; it starts within 10s, stops within 10s and is stable after 5s."""
        service = FakeService(name, self.events)
        spec = ServiceSpec(
            name,
            service,
            frozenset(requires),
            auto_start=auto_start,
            required=required,
            restart=restart or Restart(),
        )
        self.supervisor.add(spec)
        return service

    def state(self, name: str) -> ServiceState:
        return self.supervisor.status(name)

    def statuses(self) -> dict[str, Status]:
        return {name: state.status for name, state in self.supervisor.services().items()}

    def take_events(self) -> list[str]:
        """Returns the events since the last call."""
        events = self.events[:]
        self.events.clear()
        return events


class Background:
    """A call in a greenlet of its own."""

    def __init__(self, call: Callable[[], None]) -> None:
        self.greenlet = gevent.spawn(self._run, call)
        settle()

    @property
    def done(self) -> bool:
        return self.greenlet.ready()

    def error(self) -> BaseException | None:
        """Waits for the call's end and returns what it raised."""
        return self.greenlet.get(timeout=PATIENCE)

    def _run(self, call: Callable[[], None]) -> BaseException | None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            return error
        return None
