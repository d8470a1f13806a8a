"""An app's queues without its host: for an operator's command, which runs no Lua."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from wippy_lua.clock import Clock
from wippy_lua.errors import Kind, WippyError
from wippy_lua.log import Log
from wippy_lua.operations.local import LocalOperations
from wippy_lua.queue.driver import Driver
from wippy_lua.queue.drivers import make_driver
from wippy_lua.queue.manager import QueueManager
from wippy_lua.registry.configs import queue_config
from wippy_lua.registry.loader import load_folder
from wippy_lua.registry.place import Place
from wippy_lua.registry.registry import Registry

#: What queues are made of. Whatever else an app has may be broken: that is no reason to leave its
#: queues alone.
KINDS = ("queue.driver", "queue.queue", "config")


def load_queues(path: Path, env: Mapping[str, str], overrides: Sequence[str] = ()) -> Registry:
    """Returns the drivers and queues of an app; raises ConfigError for what is wrong with them."""
    return load_folder(Place.of(path).folder, env=env, overrides=overrides, kinds=KINDS)


@contextmanager
def open_queues(
    path: Path, *, env: Mapping[str, str], overrides: Sequence[str], clock: Clock, log: Log
) -> Iterator[LocalOperations]:
    """Opens an app's queues for a while: each driver is started when it is first needed.

    Raises ConfigError as `load_queues`.
    """
    registry = load_queues(path, env, overrides)
    manager = QueueManager(clock)
    drivers = Drivers(manager, log)
    for entry in registry.find("queue.driver"):
        drivers.add(entry.id, make_driver(registry.with_named(entry), clock, log))
    for entry in registry.find("queue.queue"):
        manager.add_queue(queue_config(registry, entry))
    try:
        yield LocalOperations(manager, registry, clock, prepare=drivers.prepare)
    finally:
        drivers.stop()


class Drivers:
    """Starts drivers and declares queues on demand."""

    def __init__(self, manager: QueueManager, log: Log) -> None:
        self._manager = manager
        self._log = log
        self._drivers: dict[str, Driver] = {}
        #: Why a driver could not be started; None of one that was.
        self._starts: dict[str, WippyError | None] = {}
        self._declared: set[str] = set()

    def add(self, driver_id: str, driver: Driver) -> None:
        """Makes a driver known to the manager."""
        self._manager.add_driver(driver_id, driver)
        self._drivers[driver_id] = driver

    def prepare(self, queue: str) -> None:
        """Starts a queue's driver and declares the queue, as a host would; raises WippyError."""
        if queue in self._declared:
            return
        driver = self._manager.config(queue).driver
        if not self._drivers[driver].capabilities.durable:
            raise _in_the_host(queue)
        if driver not in self._starts:
            self._starts[driver] = _failure_of_start(self._drivers[driver])
        failure = self._starts[driver]
        if failure is not None:
            raise failure
        self._manager.declare(queue)
        self._declared.add(queue)

    def stop(self) -> None:
        """Stops what was started."""
        for driver, failure in self._starts.items():
            if failure is None:
                try:
                    self._drivers[driver].stop()
                except WippyError as error:
                    self._log.error("driver did not stop", driver=driver, error=error.message)


def _failure_of_start(driver: Driver) -> WippyError | None:
    try:
        driver.start()
    except WippyError as error:
        return error
    return None


def _in_the_host(queue: str) -> WippyError:
    return WippyError(
        f"{queue} is in memory, so it lives in the running host: let that listen with"
        " `wippy-lua run --admin 127.0.0.1:9464`, and ask it with `--admin 127.0.0.1:9464`",
        kind=Kind.INVALID,
        retryable=False,
        details={"queue": queue},
    )
