"""A store on a Redis or Valkey server, shared by all hosts that reach it.

Every verb is one command or one run of `script.lua`. Needs a process that gevent has patched.
"""

from __future__ import annotations

from importlib.resources import files
from math import ceil, inf
from typing import Final, cast

from wippy_lua.clock import Clock
from wippy_lua.errors import Kind, WippyError
from wippy_lua.log import Log
from wippy_lua.redis import check_patched, identity, needed_by
from wippy_lua.registry.entry import Entry
from wippy_lua.registry.kinds import RedisStoreSpec
from wippy_lua.store.store import Done, Held
from wippy_lua.store.value import integer_of, no_integer, pack, too_large

KIND: Final = "store.redis"

with needed_by(KIND):
    from wippy_lua.redis.wire import Argument, Server, Wire, silence_within

#: Seconds that a caller waits for the server.
TIMEOUT: Final = 5.0
#: Seconds that a stop waits for what is on its way.
FLUSH_TIMEOUT: Final = 1.0

VALUE: Final = b"v"
CLAIM: Final = b"c"


def from_entry(entry: Entry, clock: Clock, log: Log) -> RedisStore:  # noqa: ARG001 - as the others
    """Returns the store of a `store.redis` entry; raises WippyError for a bad URL."""
    spec = entry.spec_as(RedisStoreSpec)
    prefix = spec.prefix or f"wippy:{entry.id}"
    try:
        return RedisStore(spec.url, log.bind(store=entry.id), prefix=prefix, lease=spec.lease)
    except ValueError as error:
        raise WippyError(f"{entry.id}: {error}", kind=Kind.INVALID, retryable=False) from error


class RedisStore:
    """The keys that begin with a prefix and a colon; all expire by the server's clock."""

    def __init__(self, url: str, log: Log, *, prefix: str, lease: float = 30.0) -> None:
        self.lease = lease
        self._prefix = f"{prefix}:".encode()
        self._log = log
        script = files(__package__).joinpath("script.lua").read_bytes()
        self._server = Server(url, f"wippy-lua:{identity()}", script, silence_within(lease))
        self._wire: Wire | None = None

    def start(self) -> None:
        """Connects; a server that cannot be reached is tried again when the store is used."""
        try:
            self._connected()
        except WippyError as error:
            if not error.retryable:
                raise
            self._log.warning("store not reached", error=error.message)

    def stop(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.stop(FLUSH_TIMEOUT)

    def get(self, key: bytes) -> bytes | None:
        return _value(self._ask("GET", self._prefix + key))

    def set(self, key: bytes, value: bytes, ttl: float = inf) -> None:
        lasting: tuple[Argument, ...] = () if ttl == inf else ("PX", _milliseconds(ttl))
        self._ask("SET", self._prefix + key, _form(value), *lasting)

    def set_if_absent(self, key: bytes, value: bytes, ttl: float = inf) -> bool:
        return self._is_true("set_if_absent", key, _form(value), _milliseconds(ttl), single=True)

    def incr(self, key: bytes, by: int, ttl: float = inf) -> int:
        try:
            total = self._run("incr", key, by, _milliseconds(ttl), single=True)
        except WippyError as error:
            raise _translated(error) from error
        return int(cast(bytes, total))

    def has(self, key: bytes) -> bool:
        return self._is_true("has", key)

    def delete(self, key: bytes) -> bool:
        return self._is_true("delete", key, single=True)

    def claim(self, key: bytes, token: bytes) -> Done | Held | None:
        found = self._run("claim", key, CLAIM + token, _milliseconds(self.lease))
        if isinstance(found, int):
            return Held(found / 1000) if found else None
        value = _value(found)
        if value is None:
            raise AssertionError(f"a claim was answered with {found!r}")
        return Done(value)

    def renew(self, key: bytes, token: bytes) -> bool:
        return self._is_true("renew", key, CLAIM + token, _milliseconds(self.lease))

    def finish(self, key: bytes, token: bytes, value: bytes, ttl: float = inf) -> bool:
        done = _form(value), _milliseconds(ttl)
        return self._is_true("finish", key, CLAIM + token, *done, single=True)

    def free(self, key: bytes, token: bytes) -> None:
        self._run("free", key, CLAIM + token)

    def _is_true(self, verb: str, key: bytes, *arguments: Argument, single: bool = False) -> bool:
        return self._run(verb, key, *arguments, single=single) == 1

    def _run(self, verb: str, key: bytes, *arguments: Argument, single: bool = False) -> object:
        """Runs a verb of the script; a `single` one must not be asked for twice."""
        command = self._server.script(verb, (self._prefix + key,), *arguments)
        return self._ask(*command, single=single)

    def _ask(self, *command: Argument, single: bool = False) -> object:
        return self._connected().ask(command, TIMEOUT, repeatable=not single)

    def _connected(self) -> Wire:
        if self._wire is not None:
            return self._wire
        check_patched(KIND)
        wire = Wire(self._server, self._log)
        wire.start()
        if self._wire is not None:  # another greenlet was first
            wire.stop(0.0)
        else:
            self._wire = wire
        return self._wire


def _milliseconds(seconds: float) -> int:
    return 0 if seconds == inf else ceil(seconds * 1000)


def _form(value: bytes) -> bytes:
    """Returns a packed value as the server keeps it: integers so that it can count them."""
    number = integer_of(value)
    return VALUE + value if number is None else b"%d" % number


def _value(found: object) -> bytes | None:
    """Returns the packed value of what the server keeps; None for a claim, and for nothing."""
    if found is None:
        return None
    kept = cast(bytes, found)
    if kept.startswith(CLAIM):
        return None
    return kept[1:] if kept.startswith(VALUE) else pack(int(kept))


def _translated(error: WippyError) -> WippyError:
    if "not an integer" in error.message:
        return no_integer()
    return too_large() if "overflow" in error.message else error
