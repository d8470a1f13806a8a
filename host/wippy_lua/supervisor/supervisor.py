"""Starts services in the order of their dependencies, restarts them, and stops them in reverse.

Each service is one `_Unit` with a lock of its own: whoever starts, restarts, ends or stops it holds
the lock, and nobody ever holds two, so that they cannot wait for each other in a circle. Calls into
a service run in greenlets of their own (`_Call`) and are bounded in time, so that the lock comes
free. A stop does not queue behind a start that hangs: it holds the unit (`hold`), which interrupts
the start and refuses new ones until the stop is done.

While a dependency restarts its dependents keep running (a consumer's driver connects again by
itself). Only to start they need it up, running or finished without an error: a service whose
dependency is Failed is Failed too, spends no attempt, and is restarted when the dependency runs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable
from functools import partial
from itertools import chain

import gevent
from gevent.event import Event as Flag
from gevent.lock import BoundedSemaphore

from wippy_lua.clock import Clock, Timer
from wippy_lua.errors import Kind, StopTimeout, WippyError
from wippy_lua.log import Log
from wippy_lua.supervisor.state import (
    Event,
    Restart,
    Service,
    ServiceSpec,
    ServiceState,
    Status,
    blocked,
    canceled,
    dependents,
    may_restart,
    not_found,
    restart_delay,
    start_order,
)

__all__ = ["Restart", "Service", "ServiceSpec", "ServiceState", "Status", "Supervisor"]

#: Seconds that a call into a service gets to end by itself once its time is up: before a stop is
#: interrupted, and before the supervisor goes on without a call that ignores the interruption.
GRACE = 5.0

Chance = Callable[[], float]


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
        self._units: dict[str, _Unit] = {}
        self._changed = Flag()
        self._stops = 0  # how often `stop` was called: a start that sees it grow gives up
        self._stopping = 0  # how many calls of `stop` are in progress

    def add(self, spec: ServiceSpec) -> None:
        """Takes on a service without starting it, before `start` or at any time after."""
        if spec.id in self._units:
            message = f"service {spec.id!r} exists already"
            raise WippyError(message, kind=Kind.ALREADY_EXISTS, retryable=False)
        self._units[spec.id] = _Unit(
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
            errors |= _each(units, _Unit.start, fatal)
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
                errors += _each(units, _Unit.stop).values()
        finally:
            for unit in held:
                unit.release()
        return errors

    def _unit(self, name: str) -> _Unit:
        if name not in self._units:
            raise not_found(name)
        return self._units[name]

    def _requires(self) -> dict[str, frozenset[str]]:
        return {name: unit.spec.requires for name, unit in self._units.items()}

    def _on_change(self, unit: _Unit) -> None:
        """Wakes who waits for a unit: `join`, and the dependents that could not start without."""
        changed, self._changed = self._changed, Flag()
        changed.set()
        if unit.state.status in (Status.RUNNING, Status.EXITED):
            for other in self._units.values():
                if unit.spec.id in other.spec.requires:
                    other.wake()


class _Unit:
    """One service under supervision: its state, its restarts, and the lock around its calls."""

    def __init__(
        self,
        spec: ServiceSpec,
        *,
        clock: Clock,
        log: Log,
        chance: Chance,
        blocked: Callable[[], WippyError | None],
        changed: Callable[[_Unit], None],
    ) -> None:
        self.spec = spec
        self.state = ServiceState(Status.UNKNOWN, None, 0, clock.time())
        self._clock = clock
        self._log = log
        self._chance = chance
        self._blocked = blocked
        self._changed = changed
        self._lock = BoundedSemaphore()  # held for every change of state
        self._holds = 0  # how many stops are in progress: starts are refused
        self._stops = 0  # how many stops there were: a start that sees it grow gives up
        self._starting: _Call | None = None
        self._run: object = None  # a token: the end of an earlier run is not taken for this one's
        self._running_since = 0.0
        self._failures = 0  # in a row
        self._restarts = 0
        self._timer: Timer | None = None  # of the next restart
        self._stop_error: Exception | None = None  # of the last stop, until the next start

    def start(self) -> None:
        """Starts the service, quiet when it runs; earlier failures are forgotten."""
        stops = self._stops
        if self._holds:
            raise self._canceled()
        with self._lock:
            if self._stops != stops:
                raise self._canceled()
            if self.state.status is Status.RUNNING:
                return
            self._cancel_restart()
            self._failures = self._restarts = 0
            error = self._launch(stops)
        if error is not None:
            raise error

    def hold(self) -> None:
        """Begins a stop: interrupts a start in progress and refuses others until `release`."""
        self._holds += 1
        self._stops += 1
        if self._starting is not None:
            self._starting.interrupt(self._canceled())

    def release(self) -> None:
        """Allows starts again."""
        self._holds -= 1

    def stop(self) -> None:
        """Stops the service if it is active; call `hold` before."""
        with self._lock:
            if self.state.active:
                self._halt()
            # Otherwise somebody stopped it for us: another stop, or the start that we interrupted.
            error = self._stop_error
        if error is not None:
            raise error

    def wake(self) -> None:
        """Restarts a failed service now instead of at its time."""
        if self.state.status is Status.FAILED:
            self._cancel_restart()
            gevent.spawn(self._restart)

    def _launch(self, stops: int) -> Exception | None:
        """Goes from rest to Running; returns why it did not, after the state says so."""
        self._stop_error = None
        self._fire(Event.START, self.state.error)
        blocker = self._blocked()
        if blocker is not None:
            if blocker.retryable:
                self._await_restart(blocker, delay=None)
            else:
                self._give_up(blocker)
            return blocker
        self._log.debug("service starting")
        try:
            error = self._call_start()
            if error is not None and self._stops == stops:
                self._call_stop()
        except BaseException:
            # Somebody ended the greenlet that wanted the service; nobody wants it any more.
            self._halt()
            raise
        if self._stops != stops:
            self._halt()
            return self._canceled()
        if error is not None:
            self._count_failure(error, ran=0.0)
            return error
        self._running_since = self._clock.monotonic()
        self._fire(Event.STARTED, None)
        self._log.info("service started")
        return None

    def _halt(self) -> None:
        """Goes from an active state to Stopped; keeps the error for those who asked for it."""
        self._cancel_restart()
        self._run = None
        self._fire(Event.STOP, self.state.error)
        try:
            self._stop_error = self._call_stop()
        finally:
            self._fire(Event.STOPPED, self._stop_error or self.state.error)
        self._log.info("service stopped")

    def _call_start(self) -> Exception | None:
        self._run = object()
        start = partial(self.spec.service.start, partial(self._exited, self._run))
        timeout = self.spec.start_timeout
        message = f"{self.spec.id} did not start within {timeout:g}s"
        late = WippyError(message, kind=Kind.TIMEOUT, retryable=True)
        self._starting = _Call(self._clock, start)
        try:
            return self._starting.run(timeout, late)
        finally:
            self._starting = None

    def _call_stop(self) -> Exception | None:
        stop = partial(self.spec.service.stop, self.spec.stop_timeout)
        timeout = self.spec.stop_timeout + GRACE
        late = StopTimeout(self.spec.id, timeout, [self.spec.id])
        error = _Call(self._clock, stop).run(timeout, late)
        if error is not None:
            self._log.warning("service did not stop cleanly", **_facts(error))
        return error

    def _exited(self, run: object, error: BaseException | None) -> None:
        # The caller may be a callback of the hub, which must not wait for the lock.
        gevent.spawn(self._end, run, error, self._clock.monotonic())

    def _end(self, run: object, error: BaseException | None, at: float) -> None:
        """Takes note that a run ended by itself."""
        with self._lock:
            if run is not self._run:
                # It was stopped in the meantime, or says so twice.
                if error is not None:
                    self._log.debug("service ended while it was stopped", **_facts(error))
            elif error is None:
                self._run = None
                self._fire(Event.EXIT, None)
                self._log.info("service finished")
            else:
                self._count_failure(error, at - self._running_since)

    def _count_failure(self, error: BaseException, ran: float) -> None:
        """Restarts or gives up a service that failed after it ran for so many seconds."""
        self._failures = 1 if ran > self.spec.stable_threshold else self._failures + 1
        policy = self.spec.restart
        if may_restart(policy, self._failures, error):
            self._await_restart(error, restart_delay(policy, self._failures, self._chance()))
        else:
            self._give_up(error)

    def _await_restart(self, error: BaseException, delay: float | None) -> None:
        """Goes to Failed, until `delay` is over, or for None until a dependency wakes it."""
        self._run = None
        self._fire(Event.FAIL, error)
        if delay is not None:
            self._timer = self._clock.call_later(delay, self._on_time)
        self._log.warning("service failed", restart_in=delay, **_facts(error))

    def _give_up(self, error: BaseException) -> None:
        self._run = None
        self._fire(Event.EXIT, error)
        self._log.error("service failed for good", failures=self._failures, **_facts(error))

    def _on_time(self) -> None:
        self._timer = None  # a cancel from here on would kill the greenlet that restarts
        self._restart()

    def _restart(self) -> None:
        """Starts the service again unless somebody started, stopped or failed it meanwhile."""
        stops = self._stops
        with self._lock:
            due = self.state.status is Status.FAILED and self._timer is None
            if due and not self._holds and self._stops == stops:
                self._restarts += 1
                self._launch(stops)

    def _canceled(self) -> WippyError:
        return canceled(f"the start of {self.spec.id}")

    def _cancel_restart(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self, event: Event, error: BaseException | None) -> None:
        now = self._clock.time()
        self.state = self.state.after(event, error=error, restarts=self._restarts, now=now)
        self._changed(self)


class _Call:
    """One call into a service, in a greenlet of its own so that it can be interrupted.

    The outcome comes from the flags here: a killed greenlet looks as if it had succeeded.
    """

    def __init__(self, clock: Clock, call: Callable[[], None]) -> None:
        self._clock = clock
        self._call = call
        self._greenlet = gevent.Greenlet(self._body)
        self._over = Flag()
        self._error: Exception | None = canceled("a call into a service")  # unless it says better
        self._reason: WippyError | None = None
        self._grace: Timer | None = None

    def run(self, timeout: float, late: WippyError) -> Exception | None:
        """Blocks until the call is over; returns what it raised or why it was interrupted."""
        self._greenlet.rawlink(lambda _: self._over.set())
        self._greenlet.start()
        timer = self._clock.call_later(timeout, partial(self.interrupt, late))
        try:
            self._over.wait()
        except BaseException:
            self.interrupt(canceled("a call into a service"))
            self._over.wait()
            raise
        finally:
            timer.cancel()
            if self._grace is not None:
                self._grace.cancel()
        return self._outcome()

    def interrupt(self, reason: WippyError) -> None:
        """Ends the call early; `reason` becomes its outcome. Nothing when it is over."""
        if self._reason is None and not self._greenlet.ready():
            self._reason = reason
            self._greenlet.kill(block=False)
            self._grace = self._clock.call_later(GRACE, self._over.set)

    def _outcome(self) -> Exception | None:
        if self._reason is None:
            return self._error
        if self._greenlet.ready():
            return self._reason
        message = f"{self._reason.message}, and it ignores its interruption"
        # Not retryable: it still runs, and a second start beside it could do anything.
        return WippyError(message, kind=self._reason.kind, retryable=False)

    def _body(self) -> None:
        try:
            self._call()
        except gevent.Timeout as error:
            self._error = WippyError(f"timed out: {error}", kind=Kind.TIMEOUT, retryable=True)
        except Exception as error:  # noqa: BLE001 - not swallowed: it is the outcome
            self._error = error
        else:
            self._error = None


def _each(
    units: Iterable[_Unit], call: Callable[[_Unit], None], fatal: Collection[str] = ()
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


def _caught(call: Callable[[_Unit], None], unit: _Unit) -> Exception | None:
    try:
        call(unit)
    except Exception as error:  # noqa: BLE001 - not swallowed: it is the result
        return error
    return None


def _raise_all(errors: list[Exception]) -> None:
    if errors:
        raise ExceptionGroup("services did not stop cleanly", errors)


def _facts(error: BaseException) -> dict[str, object]:
    """Returns an error's fields for the log; what nobody expected comes with its traceback."""
    if isinstance(error, WippyError):
        return {"error": error.message, "kind": error.kind.value}
    return {"error": str(error) or type(error).__name__, "exc_info": error}
