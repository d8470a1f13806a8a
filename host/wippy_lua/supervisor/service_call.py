"""One call into a service: bounded in time, and ended from outside when it has to be."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import gevent
from gevent.event import Event as Flag

from wippy_lua.clock import Clock, Timer
from wippy_lua.errors import Kind, WippyError
from wippy_lua.supervisor.state import canceled

#: Seconds that a call into a service gets to end by itself once its time is up: before a stop is
#: interrupted, and before the supervisor goes on without a call that ignores the interruption.
GRACE = 5.0


class ServiceCall:
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
