"""What a service is, its states, its restarts and its place in the order: no clock, no greenlet.

    Unknown -START-> Starting -STARTED-> Running -STOP-> Stopping -STOPPED-> Stopped
                        |                   |
                        +------ FAIL -------+--> Failed    waits for its restart: START
                        +------ EXIT -------+--> Exited    ended for good, with an error or without

Stopped and Exited can be started again; Starting and Failed can be stopped, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from graphlib import CycleError, TopologicalSorter
from typing import Protocol

from wippy_lua.errors import Kind, WippyError


class Status(StrEnum):
    """Where a service is in its life."""

    UNKNOWN = "Unknown"
    STARTING = "Starting"
    RUNNING = "Running"
    STOPPING = "Stopping"
    STOPPED = "Stopped"
    EXITED = "Exited"
    FAILED = "Failed"


class Event(StrEnum):
    """What happens to a service."""

    START = "start"
    STARTED = "started"
    FAIL = "fail"
    EXIT = "exit"
    STOP = "stop"
    STOPPED = "stopped"


TRANSITIONS = {
    (Status.UNKNOWN, Event.START): Status.STARTING,
    (Status.STARTING, Event.STARTED): Status.RUNNING,
    (Status.STARTING, Event.FAIL): Status.FAILED,
    (Status.STARTING, Event.EXIT): Status.EXITED,
    (Status.STARTING, Event.STOP): Status.STOPPING,
    (Status.RUNNING, Event.FAIL): Status.FAILED,
    (Status.RUNNING, Event.EXIT): Status.EXITED,
    (Status.RUNNING, Event.STOP): Status.STOPPING,
    (Status.STOPPING, Event.STOPPED): Status.STOPPED,
    (Status.STOPPED, Event.START): Status.STARTING,
    (Status.EXITED, Event.START): Status.STARTING,
    (Status.FAILED, Event.START): Status.STARTING,
    (Status.FAILED, Event.STOP): Status.STOPPING,
}

#: In these a service runs, or will without anybody asking; in the others it rests.
ACTIVE = frozenset({Status.STARTING, Status.RUNNING, Status.STOPPING, Status.FAILED})


@dataclass(frozen=True, slots=True)
class ServiceState:
    """A service at one moment.

    `error` is what went wrong last, None once the service runs again. `restarts` counts since the
    service was last started by somebody. `since` is the Unix time of the last change of status.
    """

    status: Status
    error: BaseException | None
    restarts: int
    since: float

    @property
    def active(self) -> bool:
        """Tells whether the service runs, or will without anybody asking."""
        return self.status in ACTIVE

    @property
    def is_up(self) -> bool:
        """Tells whether dependents can start: it runs, or is a program that has done its work."""
        finished = self.status is Status.EXITED and self.error is None
        return finished or self.status is Status.RUNNING

    def after(
        self, event: Event, *, error: BaseException | None, restarts: int, now: float
    ) -> ServiceState:
        """Returns the state that an event leads to; raises when it is illegal in this one."""
        target = TRANSITIONS.get((self.status, event))
        if target is None:
            raise WippyError(
                f"event {event.value!r} is illegal in state {self.status.value}",
                kind=Kind.INTERNAL,
                retryable=False,
            )
        return ServiceState(target, error, restarts, now)


@dataclass(frozen=True, slots=True)
class Restart:
    """How a failed service is restarted; delays in seconds, `jitter` a share of the delay.

    `max_attempts` bounds the restarts in a row, without a stable run between; 0 is no limit.
    """

    initial_delay: float = 1.0
    max_delay: float = 90.0
    backoff_factor: float = 2.0
    jitter: float = 0.1
    max_attempts: int = 0


def may_restart(policy: Restart, failures: int, error: BaseException) -> bool:
    """Tells whether a service is restarted after its `failures`-th failure in a row."""
    if isinstance(error, WippyError) and error.retryable is False:
        return False
    return policy.max_attempts == 0 or failures <= policy.max_attempts


def restart_delay(policy: Restart, failures: int, chance: float) -> float:
    """Returns the seconds to wait after the `failures`-th failure in a row; `chance` in [0, 1)."""
    # The exponent is capped: 2.0 ** 1100 overflows, and a service may be restarted for ever.
    grown = policy.initial_delay * policy.backoff_factor ** min(failures - 1, 64)
    spread = 1 + policy.jitter * (2 * chance - 1)
    return min(min(grown, policy.max_delay) * spread, policy.max_delay)


Exited = Callable[[BaseException | None], None]


class Service(Protocol):
    """Something that runs until it is stopped or ends by itself.

    The supervisor calls one method at a time, each in a greenlet that may be killed.
    """

    def start(self, exited: Exited) -> None:
        """Blocks until the service runs; raises when it cannot.

        `exited` is to be called once if the service ends by itself, after it has let go of what it
        held: with the error, or with None when it has finished. It never blocks, and may be called
        from any greenlet or callback of this hub. After a start that raised or was interrupted
        `stop` is called.
        """

    def stop(self, timeout: float) -> None:
        """Blocks until everything has stopped; raises `StopTimeout` when it had to interrupt.

        `timeout` is how many seconds running work may go on. Quiet when the service was never
        started, did not start, has ended or was stopped before. When the stop itself is
        interrupted, it lets go of everything at once: the service counts as stopped.
        """


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """A service and how it is supervised; times in seconds.

    `required`: when it cannot start, nothing starts. `stable_threshold`: a failure after a longer
    run than this is counted as the first.
    """

    id: str
    service: Service
    requires: frozenset[str] = frozenset()
    auto_start: bool = False
    required: bool = True
    start_timeout: float = 10.0
    stop_timeout: float = 10.0
    stable_threshold: float = 5.0
    restart: Restart = field(default_factory=Restart)


def start_order(requires: Mapping[str, Collection[str]], names: Iterable[str]) -> list[list[str]]:
    """Returns the services and all that they require, in levels: the first requires nothing.

    Raises `WippyError`: NOT_FOUND for a service that does not exist, INVALID for a cycle.
    """
    needed = sorted(_reach(requires, names))
    for name in needed:
        if name not in requires:
            raise not_found(name, by=[other for other in needed if name in requires.get(other, ())])
    sorter = TopologicalSorter({name: requires[name] for name in needed})
    try:
        sorter.prepare()
    except CycleError as error:
        cycle = " -> ".join(reversed(error.args[1]))
        raise WippyError(
            f"services require each other: {cycle}", kind=Kind.INVALID, retryable=False
        ) from error
    levels = []
    while sorter.is_active():
        level = sorter.get_ready()
        sorter.done(*level)
        levels.append(sorted(level))
    return levels


def dependents(requires: Mapping[str, Collection[str]], names: Iterable[str]) -> set[str]:
    """Returns these services with all that require them, directly or not."""
    required_by: dict[str, list[str]] = {}
    for name, required in requires.items():
        for other in required:
            required_by.setdefault(other, []).append(name)
    return _reach(required_by, names)


def _reach(edges: Mapping[str, Collection[str]], names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending.extend(edges.get(name, ()))
    return found


def blocked(name: str, dependencies: Mapping[str, ServiceState]) -> WippyError | None:
    """Returns why a service cannot start now: the first of its dependencies that is not up."""
    for dependency, state in dependencies.items():
        if not state.is_up:
            why = f" ({state.error})" if state.error is not None else ""
            return WippyError(
                f"{name} requires {dependency}, which is {state.status.value}{why}",
                kind=Kind.UNAVAILABLE,
                # Only a dependency that will be up by itself is worth waiting for.
                retryable=state.active,
            )
    return None


def not_found(name: str, by: Collection[str] = ()) -> WippyError:
    """Returns the error of a service that does not exist; `by` names what requires it."""
    required = f", required by {', '.join(by)}," if by else ""
    return WippyError(
        f"service {name!r}{required} does not exist", kind=Kind.NOT_FOUND, retryable=False
    )


def canceled(what: str) -> WippyError:
    """Returns the error of something that a stop has ended early."""
    return WippyError(f"{what} was cancelled by a stop", kind=Kind.CANCELED)
