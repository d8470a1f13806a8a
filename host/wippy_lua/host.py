"""The host: an app's registry brought to life. This is the embedding API.

Reads like a table of contents: `__init__` loads and connects the parts, `start` and `stop` leave
the order to the supervisor, and each verb goes straight to the part that does it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import gevent
import msgspec
from gevent.event import Event

from wippy_lua.assembly import App, LogMaker
from wippy_lua.call import Call
from wippy_lua.clock import Clock, SystemClock
from wippy_lua.errors import CallError, Kind, WippyError
from wippy_lua.handoff import Handoff
from wippy_lua.log import Log
from wippy_lua.log import make_log as make_default_log
from wippy_lua.lua.resolver import PythonModule
from wippy_lua.operations.local import LocalOperations
from wippy_lua.queue.codec import pack
from wippy_lua.queue.driver import QueueInfo
from wippy_lua.queue.manager import PublishOptions
from wippy_lua.queue.message import Header
from wippy_lua.security.context import check_publish
from wippy_lua.security.policy import Actor, Scope
from wippy_lua.supervisor.state import ServiceState

if TYPE_CHECKING:
    from wippy_lua.admin.app import AdminApp

DRAIN_POLL_SECONDS = 0.02


class Host:
    """An app folder, its `_index.yaml` or its `main.lua`, ready to start.

    `modules` are Lua modules made of Python functions, by module and function name; they take and
    return plain values, run on the calling greenlet and should wait through gevent only. `env`
    expands `${env:NAME}` in the registry, `overrides` are "namespace:name.field=value".
    `log` gets the host's lines and those of Lua from `log_level` on (default: what the app's
    `host.config` says); `make_log` makes it instead once that level is known. Without either
    they go to standard error, as those of the command line do; `NullLog()` drops them.
    Raises ConfigError with every problem of the app, Lua that does not load included.

    A host belongs to the hub of the thread that started it. `publish`, `call` and `info` may come
    from other native threads. It may be made before a fork, but only be started after it: in a
    fork of the process that started it every verb but `stop` raises WippyError of kind INVALID.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        modules: Mapping[str, PythonModule] | None = None,
        env: Mapping[str, str] | None = None,
        overrides: Sequence[str] = (),
        log: Log | None = None,
        log_level: str | None = None,
        make_log: LogMaker | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._app = App.load(
            Path(path),
            python_modules=modules or {},
            env=os.environ if env is None else env,
            overrides=overrides,
            make_log=make_log or (lambda level: log or make_default_log(level)),
            log_level=log_level,
            clock=clock or SystemClock(),
        )
        self._handoff = Handoff()
        self._stopped = Event()
        self._started = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts what has `auto_start`, and what that depends on; returns when all of it runs.

        Raises the error of a service with `startup: required` that could not start, after
        stopping the others; WippyError of kind CANCELED when `stop` is called meanwhile.
        """
        if self._started:
            self._handoff.check_process()
            return
        self._handoff.bind()
        self._stopped.clear()
        self._started = True  # from here on there is something to stop, by another greenlet too
        try:
            self._app.start()
        except BaseException:
            self._started = False
            raise

    def stop(self, timeout: float | None = None) -> None:
        """Stops everything, dependents first, `main.lua` too; quiet when never started here.

        Each service has its own `stop_timeout`; `timeout` bounds them all. Raises an
        `ExceptionGroup` with a StopTimeout for each service that had to be interrupted.
        """
        if not self._started or self._handoff.is_fork:
            return
        self._started = False
        try:
            with gevent.Timeout(
                timeout, WippyError(f"host did not stop within {timeout}s", kind=Kind.TIMEOUT)
            ):
                self._app.stop()
        finally:
            self._stopped.set()

    def serve_forever(self) -> None:
        """Blocks until `stop` is called from another greenlet or a signal handler."""
        self._stopped.wait()

    def publish(
        self,
        queue: str,
        data: object,
        headers: dict[str, Header] | None = None,
        *,
        delay: float | str = 0.0,
        ttl: float | str | None = None,
        timeout: float | str = 10.0,
        message_id: str | None = None,
        actor: Actor | None = None,
        scope: Scope | None = None,
    ) -> str:
        """Publishes a value and returns the message's ID once it is safe by its driver's standard.

        `str` and `bytes` travel as they are, anything else by the queue's codec. With an `actor`
        or a `scope` it takes their permission; without, the program itself publishes. Raises
        QueueNotFound, or WippyError of kind INVALID, UNAVAILABLE or TIMEOUT.
        """
        options = PublishOptions(delay=delay, ttl=ttl, timeout=timeout)

        def publish() -> str:
            self._check_publish(queue, actor, scope)
            manager = self._app.manager
            message = manager.encode(queue, data, headers, message_id)
            manager.publish(queue, (message,), options)
            return message.id

        return self._handoff.run(publish)

    def call(
        self,
        function: str,
        *arguments: object,
        timeout: float | None = None,
        actor: Actor | None = None,
        scope: Scope | None = None,
    ) -> Any:
        """Calls a function and returns its value; `timeout` is seconds of wall time.

        The call acts as `actor`, held to the policies of `scope`; with one of the two it may do
        what the scope allows and no more, an absent one allowing nothing. Without both it may do
        everything, or nothing in an app whose `host.config` says `security: strict`.

        Raises CallError with the kind, message, details and Lua stack of what went wrong.
        """
        packed = _pack(function, arguments)

        def run() -> bytes | None:
            limit = (
                timeout if timeout is not None else self._app.functions.program(function).timeout
            )
            deadline = inf if limit is None else monotonic() + limit
            security = self._app.policies.context(actor, scope)
            call = Call(function, deadline=deadline, security=security)
            return self._app.functions.call(call, packed)

        result = self._handoff.run(run)
        return None if result is None else msgspec.msgpack.decode(result)

    def scope(self, groups: Sequence[str] = (), policies: Sequence[str] = ()) -> Scope:
        """Returns the app's policies of these groups, and those with these IDs, as one scope.

        Raises WippyError of kind NOT_FOUND for a name that no `security.policy` has.
        """
        return self._app.policies.scope(groups, policies)

    def info(self, queue: str) -> QueueInfo:
        """Returns a queue's counts; raises QueueNotFound."""
        return self._handoff.run(lambda: self._app.manager.info(queue))

    def operations(self) -> LocalOperations:
        """Returns what an operator may do with the queues, on the thread of this host's hub.

        Blocks nothing by itself; a host that is not started has nothing to operate on.
        """
        return self._app.operations()

    def start_service(self, service: str) -> None:
        """Starts a service and what it depends on; raises its error when it cannot start."""
        self._handoff.check_process()
        self._app.supervisor.start_service(service)

    def stop_service(self, service: str) -> None:
        """Stops a service, after those that depend on it; raises as `stop` does."""
        self._handoff.check_process()
        self._app.supervisor.stop_service(service)

    def services(self) -> Mapping[str, ServiceState]:
        """Returns the state of every service by ID."""
        return self._app.supervisor.services()

    def admin_app(self, *, token: str | None = None) -> AdminApp:
        """Returns a WSGI app with health, metrics and the verbs of an operator.

        It is for a gevent server in the host's own hub, from before `start` on. Without a `token`
        it serves this machine only; its verbs act as the host itself.
        """
        return self._app.admin_app(token)

    def run_main(self, arguments: Sequence[str] = ()) -> object:
        """Runs the app's `main.lua` and returns what it returned; None when the app has none.

        Raises CallError; it is of kind CANCELED when `stop` ended the program.
        """
        self._handoff.check_process()
        return self._app.run_main(arguments)

    def join(self) -> None:
        """Blocks while a consumer or a process runs, or will again after its restart."""
        self._app.join()

    def drain(self) -> None:
        """Blocks until every queue whose consumer runs is empty and idle.

        Delayed messages count, those in dead-letter queues do not. Returns early on `stop`.
        """
        # Two looks in a row: queues of a broker are asked one after the other, and a message may
        # move on from one that is asked late to one that was asked early.
        idle, pause = 0, 0.001
        while not self._stopped.is_set() and idle < 2:
            idle = idle + 1 if self._app.is_idle() else 0
            gevent.sleep(pause)
            pause = min(pause * 2, DRAIN_POLL_SECONDS)

    def _check_publish(self, queue: str, actor: Actor | None, scope: Scope | None) -> None:
        if actor is None and scope is None:
            return
        security = self._app.policies.context(actor, scope)
        if security is not None:
            check_publish(security, queue)


def _pack(function: str, arguments: Sequence[object]) -> bytes:
    try:
        return pack(arguments)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise CallError(f"arguments of {function}: {error}", kind=Kind.INVALID) from error
