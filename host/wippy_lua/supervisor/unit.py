"""One service under supervision: started, ended, restarted and stopped under its own lock."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import gevent
from gevent.lock import BoundedSemaphore

from wippy_lua.clock import Clock, Timer
from wippy_lua.errors import Kind, StopTimeout, WippyError
from wippy_lua.log import Log
from wippy_lua.supervisor.service_call import GRACE, ServiceCall
from wippy_lua.supervisor.state import (
    Event,
    ServiceSpec,
    ServiceState,
    Status,
    canceled,
    may_restart,
    restart_delay,
)

Chance = Callable[[], float]


class Unit:
    """One service under supervision: its state, its restarts, and the lock around its calls."""

    def __init__(
        self,
        spec: ServiceSpec,
        *,
        clock: Clock,
        log: Log,
        chance: Chance,
        blocked: Callable[[], WippyError | None],
        changed: Callable[[Unit], None],
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
        self._starting: ServiceCall | None = None
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
        self._starting = ServiceCall(self._clock, start)
        try:
            return self._starting.run(timeout, late)
        finally:
            self._starting = None

    def _call_stop(self) -> Exception | None:
        stop = partial(self.spec.service.stop, self.spec.stop_timeout)
        timeout = self.spec.stop_timeout + GRACE
        late = StopTimeout(self.spec.id, timeout, [self.spec.id])
        error = ServiceCall(self._clock, stop).run(timeout, late)
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


def _facts(error: BaseException) -> dict[str, object]:
    """Returns an error's fields for the log; what nobody expected comes with its traceback."""
    if isinstance(error, WippyError):
        return {"error": error.message, "kind": error.kind.value}
    return {"error": str(error) or type(error).__name__, "exc_info": error}
