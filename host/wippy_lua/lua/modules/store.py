"""Host side of the Lua module `store`: from a handler's keys and packed values to a store."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from math import inf

from gevent.pool import Group

from wippy_lua.call import Call
from wippy_lua.clock import Clock
from wippy_lua.errors import Kind, WippyError
from wippy_lua.log import Log
from wippy_lua.lua.runtime import HostFunction
from wippy_lua.security.context import check
from wippy_lua.store.once import Claim
from wippy_lua.store.store import Store
from wippy_lua.units import parse_duration

MAX_KEY_BYTES = 1024
MAX_VALUE_BYTES = 16 * 1024 * 1024  #: packed
FREE_SECONDS = 1.0  #: for a stop to free what is claimed
DEFAULT_WAIT = 5.0  #: seconds that `once` waits for another caller


class StoreModule:
    """The functions that stdlib/store.lua calls; `stores` are by ID, and may still grow."""

    def __init__(self, stores: Mapping[str, Store], clock: Clock, log: Log) -> None:
        self._stores = stores
        self._clock = clock
        self._log = log
        self._numbers = count(1)
        self._claims: dict[int, tuple[Claim, float]] = {}
        self._frees = Group()

    def functions(self) -> Mapping[str, HostFunction]:
        """Returns the host functions by the names that the Lua side uses."""
        return {
            "open": self.open,
            "get": self.get,
            "set": self.set,
            "set_if_absent": self.set_if_absent,
            "incr": self.incr,
            "has": self.has,
            "delete": self.delete,
            "claim": self.claim,
            "finish": self.finish,
            "free": self.free,
        }

    def stop(self) -> None:
        """Frees what calls have claimed, so that other hosts need not wait for its lease."""
        for claim, _ in tuple(self._claims.values()):
            claim.interrupt()
        self._frees.join(FREE_SECONDS)

    def open(self, _call: Call, store: bytes) -> bool:
        """Returns true when the store exists; what is then done with it needs permission."""
        self._find(store)
        return True

    def get(self, call: Call, store: bytes, key: bytes) -> bytes | None:
        """Returns a key's packed value; nil when it has none."""
        return self._store(call, "get", store).get(_checked(key))

    def set(
        self, call: Call, store: bytes, key: bytes, value: bytes, ttl: float | bytes | None = None
    ) -> bool:
        """Sets a key's packed value."""
        _refuse_while_loading(call, "set")
        target = self._store(call, "set", store)
        target.set(_checked(key), _bounded(value), _time_to_live(ttl))
        return True

    def set_if_absent(
        self, call: Call, store: bytes, key: bytes, value: bytes, ttl: float | bytes | None = None
    ) -> bool:
        """Sets a key's packed value unless it has one; tells whether it did."""
        _refuse_while_loading(call, "set_if_absent")
        target = self._store(call, "set_if_absent", store)
        return target.set_if_absent(_checked(key), _bounded(value), _time_to_live(ttl))

    def incr(
        self, call: Call, store: bytes, key: bytes, by: int, ttl: float | bytes | None = None
    ) -> int:
        """Adds to a key's integer; returns the sum."""
        _refuse_while_loading(call, "incr")
        return self._store(call, "incr", store).incr(_checked(key), by, _time_to_live(ttl))

    def has(self, call: Call, store: bytes, key: bytes) -> bool:
        """Tells whether a key has a value."""
        return self._store(call, "has", store).has(_checked(key))

    def delete(self, call: Call, store: bytes, key: bytes) -> bool:
        """Removes a key; tells whether it had a value."""
        _refuse_while_loading(call, "delete")
        return self._store(call, "delete", store).delete(_checked(key))

    def claim(
        self,
        call: Call,
        store: bytes,
        key: bytes,
        ttl: float | bytes,
        wait: float | bytes | None = None,
    ) -> int | bytes:
        """Claims a key for a function that is to run once; returns the claim's number, or the
        packed value that the key has. Blocks while another caller holds it, for up to `wait`."""
        _refuse_while_loading(call, "once")
        target = self._store(call, "once", store)
        _refuse_nesting(call, target, _checked(key))
        seconds = _time_to_live(ttl)
        patience = DEFAULT_WAIT if wait is None else _duration("wait", wait)
        number = next(self._numbers)

        def over(claim: Claim) -> None:
            self._claims.pop(number, None)
            call.leave(claim)

        log = self._log.bind(**call.facts())
        claim = Claim(target, key, self._clock, log, self._frees, over)
        # Before it is there: what ends this call while the store is asked has to free it, too.
        call.keep(claim)
        self._claims[number] = claim, seconds
        try:
            done = claim.take(patience)
        except WippyError:
            claim.interrupt()  # it may be taken though the answer did not come
            raise
        if done is None:
            return number
        over(claim)
        return done.value

    def finish(self, _call: Call, number: int, value: bytes) -> bool:
        """Stores what a claim's function returned, packed."""
        found = self._claims.get(number)
        if found is None:
            raise _ended()
        claim, ttl = found
        try:
            _bounded(value)
        except WippyError:
            claim.free()
            raise
        claim.finish(value, ttl)
        return True

    def free(self, _call: Call, number: int) -> bool:
        """Gives up a claim whose function failed; quiet when it has ended with its call."""
        found = self._claims.get(number)
        if found is not None:
            found[0].free()
        return True

    def _store(self, call: Call, verb: str, name: bytes) -> Store:
        """Returns a store that the call may use so; raises WippyError."""
        store = self._find(name)
        if call.security is not None:
            check(call, f"store.{verb}", name.decode())
        return store

    def _find(self, name: bytes) -> Store:
        store_id = name.decode("utf-8", "replace")
        store = self._stores.get(store_id)
        if store is None:
            raise WippyError(
                f"store {store_id!r} not found",
                kind=Kind.NOT_FOUND,
                retryable=False,
                details={"store": store_id},
            )
        return store


def _checked(key: bytes) -> bytes:
    if not 1 <= len(key) <= MAX_KEY_BYTES:
        raise _invalid(f"key must have 1 to {MAX_KEY_BYTES} bytes, not {len(key)}")
    return key


def _bounded(value: bytes) -> bytes:
    if len(value) > MAX_VALUE_BYTES:
        limit = MAX_VALUE_BYTES >> 20
        raise _invalid(f"the value has {len(value)} bytes when it is packed, over {limit} MiB")
    return value


def _time_to_live(ttl: float | bytes | None) -> float:
    if ttl is None:
        return inf
    seconds = _duration("ttl", ttl)
    if seconds == 0:
        raise _invalid("ttl must be over 0: leave it out for a value that stays")
    return seconds


def _duration(name: str, value: float | bytes) -> float:
    try:
        return parse_duration(
            value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        )
    except ValueError as error:
        raise _invalid(f"{name} {error}") from error


def _refuse_while_loading(call: Call, verb: str) -> None:
    # Every VM loads the module again: at its top level this would undo what handlers have stored.
    if call.loading:
        raise _invalid(f"store {verb} does nothing while a module loads: call it inside a function")


def _refuse_nesting(call: Call, store: Store, key: bytes) -> None:
    for each in call.dependents or ():
        if isinstance(each, Claim) and each.store is store and each.key == key:
            raise _invalid("once is running for this key in this very call")


def _ended() -> WippyError:
    return WippyError(
        "the call that claimed the key has ended: the result was not stored",
        kind=Kind.CONFLICT,
        retryable=True,
    )


def _invalid(message: str) -> WippyError:
    return WippyError(message, kind=Kind.INVALID, retryable=False)
