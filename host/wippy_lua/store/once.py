"""Doing something once for a key: claiming it, keeping the claim while it lasts, settling it."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, isfinite
from secrets import token_hex
from typing import Final

from gevent.pool import Group

from wippy_lua.clock import Clock, Timer
from wippy_lua.errors import Kind, WippyError
from wippy_lua.log import Log
from wippy_lua.store.store import Done, Held, Store

#: Seconds between looks at a key that another one holds, growing while it does.
SHORTEST_LOOK: Final = 0.01
LONGEST_LOOK: Final = 0.2

#: How often a claim is renewed within its lease: two renewals may fail.
RENEWALS: Final = 3


class Claim:
    """One caller's right to run a key's function; renewed until it is settled.

    Settle it by `finish` or `free`; `interrupt` frees it without blocking, for a caller that has
    ended: a greenlet among `frees` does it. `over` is called once, as soon as it is settled.
    """

    def __init__(
        self,
        store: Store,
        key: bytes,
        clock: Clock,
        log: Log,
        frees: Group,
        over: Callable[[Claim], None],
    ) -> None:
        self.store = store
        self.key = key
        self._token = token_hex(16).encode()
        self._clock = clock
        self._log = log
        self._frees = frees
        self._over = over
        self._renewal: Timer | None = None
        self._is_settled = False

    def take(self, wait: float) -> Done | None:
        """Claims the key; returns what it is done with when it is.

        Blocks for up to `wait` seconds while another caller holds it, then raises WippyError of
        kind CONFLICT.
        """
        deadline = self._clock.monotonic() + wait
        look = SHORTEST_LOOK
        while isinstance(found := self.store.claim(self.key, self._token), Held):
            left = deadline - self._clock.monotonic()
            if left <= 0:
                raise _running(found.left)
            self._clock.sleep(min(look, left))
            look = min(2 * look, LONGEST_LOOK)
        if found is None:
            self._renew_later()
        return found

    def finish(self, value: bytes, ttl: float) -> None:
        """Sets the key's value; raises WippyError, of kind CONFLICT when the claim was lost."""
        self._settle()
        if not self.store.finish(self.key, self._token, value, ttl):
            raise _lost()

    def free(self) -> None:
        """Lets others claim the key; when that fails, they can once the lease has ended."""
        self._settle()
        self._free()

    def interrupt(self) -> None:
        if not self._is_settled:
            self._settle()
            self._frees.spawn(self._free)

    def _free(self) -> None:
        try:
            self.store.free(self.key, self._token)
        except WippyError as error:
            self._log.warning("claim not freed: it lasts for its lease", error=error.message)

    def _settle(self) -> None:
        self._is_settled = True
        if self._renewal is not None:
            self._renewal.cancel()
            self._renewal = None
        self._over(self)

    def _renew_later(self) -> None:
        if isfinite(self.store.lease):
            self._renewal = self._clock.call_later(self.store.lease / RENEWALS, self._renew)

    def _renew(self) -> None:
        try:
            is_mine = self.store.renew(self.key, self._token)
        except WippyError as error:
            self._log.warning("claim not renewed", error=error.message)
            is_mine = True
        if self._is_settled:
            return
        if is_mine:
            self._renew_later()
        else:
            self._log.warning("claim lost: its lease ended before it was renewed")


def _running(left: float) -> WippyError:
    # By then it is free, whatever has become of its holder; or renewed, by one that runs on.
    details = {"retry_after": left} if left < inf else None
    return WippyError(
        "another call runs the function for this key",
        kind=Kind.CONFLICT,
        retryable=True,
        details=details,
    )


def _lost() -> WippyError:
    return WippyError(
        "the claim was lost while the function ran: its result was not stored",
        kind=Kind.CONFLICT,
        retryable=True,
    )
