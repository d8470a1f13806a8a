"""Starts services in the order of their dependencies, restarts them, and stops them in reverse.

Each service is one `Unit` with a lock of its own: whoever starts, restarts, ends or stops it holds
the lock, and nobody ever holds two, so that they cannot wait for each other in a circle. Calls into
a service run in greenlets of their own (`ServiceCall`) and are bounded in time, so that the lock
comes free. A stop does not queue behind a start that hangs: it holds the unit (`hold`), which
interrupts the start and refuses new ones until the stop is done.

While a dependency restarts its dependents keep running (a consumer's driver connects again by
itself). Only to start they need it up, running or finished without an error: a service whose
dependency is Failed is Failed too, spends no attempt, and is restarted when the dependency runs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable
from itertools import chain

import gevent
from gevent.event import Event as Flag

from wippy_lua.clock import Clock
from wippy_lua.errors import Kind, WippyError
from wippy_lua.log import Log
from wippy_lua.supervisor.state import (
    Restart,
    Service,
    ServiceSpec,
    ServiceState,
    Status,
    blocked,
    canceled,
    dependents,
    not_found,
    start_order,
)
from wippy_lua.supervisor.unit import Chance, Unit

__all__ = ["Restart", "Service", "ServiceSpec", "ServiceState", "Status", "Supervisor"]


class Supervisor:
    """All services of one host.

    Its methods may be called by any greenlet of the hub at any time, but `stop` and `stop_service`
    not from within a service that they stop: it would wait for itself and be interrupted.
    `chance` gives the numbers in [0, 1) that spread the restarts.
    """

    def __init__(self, clock: Clock, log: Log, *, chance: Chance = random.random) -> None:
        self._clock = clock
        self._log = log
        self._chance = chance
        self._units: dict[str, Unit] = {}
        self._changed = Flag()
        self._stops = 0  # how often `stop` was called: a start that sees it grow gives up
        self._stopping = 0  # how many calls of `stop` are in progress

    def add(self, spec: ServiceSpec) -> None:
        """Takes on a service without starting it, before `start` or at any time after."""
        if spec.id in self._units:
            message = f"service {spec.id!r} exists already"
            raise WippyError(message, kind=Kind.ALREADY_EXISTS, retryable=False)
        self._units[spec.id] = Unit(
            spec,
            clock=self._clock,
            log=self._log.bind(service=spec.id),
            chance=self._chance,
            blocked=lambda: blocked(spec.id, {n: self.status(n) for n in sorted(spec.requires)}),
            changed=self._on_change,
        )

    def start(self) -> None:
        """Starts every service with `auto_start`, and what they require.

        An optional service that fails is left to its restarts. When a required one fails, what
        was started is stopped again and its error is raised. Raises `WippyError` of kind CANCELED
        when `stop` is called meanwhile, and of kind NOT_FOUND or INVALID, before anything starts,
        for a dependency that does not exist or services that require each other.
        """
        wanted = {name for name, unit in self._units.items() if unit.spec.auto_start}
        required = {name for name, unit in self._units.items() if unit.spec.required}
        levels = start_order(self._requires(), wanted)
        resting = [name for name in chain(*levels) if not self._units[name].state.active]
        try:
            self._start(levels, wanted, required)
        except BaseException:
            self._stop(resting)
            raise

    def stop(self) -> None:
        """Stops all services, those that others require last; quiet when none is active.

        Goes on after an error; raises them all, such as every `StopTimeout`, in one
        `ExceptionGroup`. Starts that are in progress, restarts included, are cancelled.
        """
        self._stops += 1
        self._stopping += 1
        try:
            errors = self._stop(self._units)
        finally:
            self._stopping -= 1
        _raise_all(errors)

    def start_service(self, name: str) -> None:
        """Starts a service and what it requires; returns when it runs, quiet when it does already.

        Raises its error when it cannot start; it goes on with its restarts all the same, until
        `stop_service`.
        """
        levels = start_order(self._requires(), [name])
        errors = self._start(levels, {name})
        if name in errors:
            raise errors[name]

    def stop_service(self, name: str) -> None:
        """Stops a service, after those that require it; raises errors as `stop` does."""
        self._unit(name)
        _raise_all(self._stop([name]))

    def status(self, name: str) -> ServiceState:
        """Returns the state of one service at this moment."""
        return self._unit(name).state

    def services(self) -> dict[str, ServiceState]:
        """Returns the state of every service by ID, in the order in which they were added."""
        return {name: unit.state for name, unit in self._units.items()}

    def auto_started(self) -> list[str]:
        """Returns the services that `start` starts by themselves."""
        return [name for name, unit in self._units.items() if unit.spec.auto_start]

    def join(self, *names: str) -> None:
        """Blocks until none of these services (of all, when none is named) is active.

        So it returns when they have ended by themselves for good, or were stopped.
        """
        while any(self._unit(name).state.active for name in names or self._units):
            self._changed.wait()

    def _start(
        self, levels: Iterable[list[str]], wanted: Collection[str], fatal: Collection[str] = ()
    ) -> dict[str, Exception]:
        """Starts level by level; returns errors by ID, raises the first of a fatal service."""
        stops = self._stops
        errors: dict[str, Exception] = {}
        for level in levels:
            if self._stopping or self._stops != stops:
                break
            units = [self._units[name] for name in level]
            # A program that finished is not run again only because something requires it.
            units = [u for u in units if u.spec.id in wanted or not u.state.is_up]
            errors |= _each(units, Unit.start, fatal)
        if self._stopping or self._stops != stops:
            raise canceled("the start of services")
        return errors

    def _stop(self, targets: Iterable[str]) -> list[Exception]:
        """Stops the targets and what requires them, level by level; returns the errors."""
        names = dependents(self._requires(), targets)
        held = [self._units[name] for name in names]
        errors: list[Exception] = []
        for unit in held:
            unit.hold()
        try:
            # What is active was started, so its dependencies exist and are no cycle. Those that
            # rest take part in the order: a service may need another by way of one that has ended.
            active = [name for name in names if self._units[name].state.active]
            for level in reversed(start_order(self._requires(), active)):
                units = [self._units[name] for name in level if name in names]
                errors += _each(units, Unit.stop).values()
        finally:
            for unit in held:
                unit.release()
        return errors

    def _unit(self, name: str) -> Unit:
        if name not in self._units:
            raise not_found(name)
        return self._units[name]

    def _requires(self) -> dict[str, frozenset[str]]:
        return {name: unit.spec.requires for name, unit in self._units.items()}

    def _on_change(self, unit: Unit) -> None:
        """Wakes who waits for a unit: `join`, and the dependents that could not start without."""
        changed, self._changed = self._changed, Flag()
        changed.set()
        if unit.state.status in (Status.RUNNING, Status.EXITED):
            for other in self._units.values():
                if unit.spec.id in other.spec.requires:
                    other.wake()


def _each(
    units: Iterable[Unit], call: Callable[[Unit], None], fatal: Collection[str] = ()
) -> dict[str, Exception]:
    """Calls for all units side by side; returns errors by ID, raises a fatal unit's at once."""
    jobs = {gevent.spawn(_caught, call, unit): unit.spec.id for unit in units}
    errors: dict[str, Exception] = {}
    try:
        for job in gevent.iwait(list(jobs)):
            if isinstance(job.value, Exception):
                errors[jobs[job]] = job.value
                if jobs[job] in fatal:
                    raise job.value
    finally:
        # Also where this greenlet is killed: nothing goes on behind the back of its caller.
        gevent.killall(list(jobs))
    return errors


def _caught(call: Callable[[Unit], None], unit: Unit) -> Exception | None:
    try:
        call(unit)
    except Exception as error:  # noqa: BLE001 - not swallowed: it is the result
        return error
    return None


def _raise_all(errors: list[Exception]) -> None:
    if errors:
        raise ExceptionGroup("services did not stop cleanly", errors)
