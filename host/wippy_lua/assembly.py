"""Puts a host together: registry entries become functions, drivers, queues and services."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import Enum, auto
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from wippy_lua import store as stores
from wippy_lua.clock import Clock
from wippy_lua.declarations import Declarations
from wippy_lua.errors import CallError, ConfigError, Kind, StopTimeout, WippyError
from wippy_lua.functions import Functions
from wippy_lua.log import Log
from wippy_lua.lua.libraries import Libraries
from wippy_lua.lua.modules.test import TestModule
from wippy_lua.lua.problems import LuaProblems
from wippy_lua.lua.program import Program
from wippy_lua.lua.programs import program_of
from wippy_lua.lua.resolver import PythonModule, module_names
from wippy_lua.operations.local import LocalOperations
from wippy_lua.queue.consumer import Consumer
from wippy_lua.queue.drivers import make_driver, make_stand_in
from wippy_lua.queue.manager import QueueManager
from wippy_lua.queue.pauses import Pauses
from wippy_lua.registry.configs import consumer_config, host_spec, queue_config
from wippy_lua.registry.entry import Entry, Source, source_of
from wippy_lua.registry.files import INDEX
from wippy_lua.registry.kinds import Lifecycle, ProcessServiceSpec
from wippy_lua.registry.loader import load_folder
from wippy_lua.registry.place import MAIN, Place
from wippy_lua.registry.problem import Mark, Problem, in_file_order
from wippy_lua.registry.registry import Registry
from wippy_lua.security.context import Security
from wippy_lua.security.policies import Policies
from wippy_lua.services import DriverService, MainProgram, ProcessService
from wippy_lua.supervisor.state import Restart, Service, ServiceSpec
from wippy_lua.supervisor.supervisor import Supervisor
from wippy_lua.watchdog import HubDelays, Watchdog

if TYPE_CHECKING:
    from wippy_lua.admin.app import AdminApp

#: Seconds that a running `main.lua` gets to reach a wait when the host stops: as services do.
MAIN_STOP_TIMEOUT = Lifecycle().stop_timeout

#: Entries whose Lua runs as it is; what a library holds runs where it is imported.
PROGRAM_KINDS = ("function.lua", "process.lua")

#: Makes the log for a level: one that the app itself may set.
LogMaker = Callable[[str], Log]


class Purpose(Enum):
    """What an app is loaded for."""

    #: Functions that are tests compile and are not loaded.
    RUN = auto()
    #: All of its Lua is loaded.
    CHECK = auto()
    #: The same; and memory stands in for every driver and store, and a process runs for who depends
    #: on it.
    TEST = auto()


class App:
    """The parts of one host, connected. `App.load` makes it; nothing runs before `start`."""

    def __init__(
        self,
        purpose: Purpose,
        place: Place,
        registry: Registry,
        libraries: Libraries,
        manager: QueueManager,
        policies: Policies,
        clock: Clock,
        log: Log,
    ) -> None:
        config = host_spec(registry)
        self._purpose = purpose
        self.registry = registry
        self.manager = manager
        self.policies = policies
        self.functions = Functions(
            libraries.natives(Declarations(self)),
            log,
            memory=config.vm_memory,
            recycle=config.vm_recycle,
            nobody=policies.nobody,
        )
        libraries.connect(self.functions)
        self.supervisor = Supervisor(clock, log.bind(logger="supervisor"))
        self._libraries = libraries
        self._clock = clock
        self._log = log
        self._watchdog = Watchdog(config.stall_limit, log)
        self.consumers: dict[str, Consumer] = {}
        self.pauses = Pauses(self.consumers)
        self._processes: set[str] = set()
        self.main = _main_program(place)
        self._running_main = MainProgram(self.functions, policies.nobody)

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        python_modules: Mapping[str, PythonModule],
        env: Mapping[str, str],
        overrides: Sequence[str],
        make_log: LogMaker,
        log_level: str | None,
        clock: Clock,
        purpose: Purpose = Purpose.RUN,
    ) -> App:
        """Loads an app and connects its parts; raises ConfigError with every problem.

        Without a `log_level` it is the one of the app's `host.config`.
        """
        place = Place.of(path)
        modules = module_names(python_modules)
        registry = load_folder(place.folder, env=env, overrides=overrides, modules=modules)
        if not len(registry) and place.main is None:
            nothing = f"nothing to run: neither a {MAIN} nor an entry in any {INDEX}"
            raise ConfigError([Problem(str(path), 0, 0, "", nothing)])
        level = log_level or host_spec(registry).log_level
        log = make_log(level)
        manager = QueueManager(clock)
        policies = Policies(registry, log)
        libraries = Libraries(manager, policies, python_modules, env, clock, log, level)
        app = cls(purpose, place, registry, libraries, manager, policies, clock, log)
        libraries.add_entries(
            registry, stores.make_stand_in if purpose is Purpose.TEST else stores.make_store
        )
        app._build()
        return app

    @property
    def tests(self) -> TestModule:
        """What knows of the cases of tests that are called."""
        return self._libraries.tests

    def start(self) -> None:
        """Starts what has `auto_start`."""
        for problem in self.registry.problems:
            self._log.warning("registry", problem=str(problem))
        self._watchdog.start()
        self.functions.start()
        try:
            self._libraries.start()
            self.supervisor.start()
        except BaseException:
            self.functions.stop()
            self._libraries.stop()
            self._watchdog.stop()
            raise

    def stop(self) -> None:
        """Stops everything, and says what stays in queues that end with the process.

        Raises every error, such as a StopTimeout, in one ExceptionGroup.
        """
        self._running_main.end()  # before the services that it uses
        try:
            errors = _errors_of(self.supervisor.stop)
            errors += _errors_of(partial(self._running_main.join, MAIN_STOP_TIMEOUT))
        finally:
            self.functions.stop()
            self._libraries.stop()
            self._watchdog.stop()
            self._report_left()
        if errors:
            raise ExceptionGroup("the host did not stop cleanly", errors)

    def run_main(self, arguments: Sequence[str]) -> object:
        """Runs `main.lua`; None when the app has none."""
        if self.main is None:
            return None
        return self._running_main.run(self.main, arguments)

    def script(self, program: Program, name: str) -> Source:
        """Returns the source of one of the app's own modules; raises WippyError when it is none."""
        module = self._libraries.resolve(program, name)
        if module.kind != "script":
            raise WippyError(f"module {name!r} is no script of the app", kind=Kind.INVALID)
        return Source(module.chunk_name.removeprefix("@"), module.source)

    def join(self) -> None:
        """Blocks while a consumer or a process runs, or will again after its restart."""
        while active := self._active({*self.consumers, *self._processes}):
            self.supervisor.join(*active)

    def operations(self) -> LocalOperations:
        """Returns what an operator may do with the queues while this runs."""
        return LocalOperations(self.manager, self.registry, self._clock, pauses=self.pauses)

    def admin_app(self, token: str | None) -> AdminApp:
        """Makes the admin pages; without a token they are for this machine only."""
        # Imported here: most programs have no use for it.
        from wippy_lua.admin.api import Api
        from wippy_lua.admin.app import AdminApp
        from wippy_lua.admin.guard import Guard
        from wippy_lua.admin.health import Health
        from wippy_lua.admin.metrics_page import MetricsPage
        from wippy_lua.admin.survey import Survey

        drivers = self.manager.drivers
        health = Health(
            self.supervisor,
            self.consumers,
            drivers,
            self.pauses,
            self.hub_delays,
            self._clock,
        )
        metrics = MetricsPage.of(self, Survey(self.manager, self._log))
        api = Api(self.operations(), self.supervisor)
        return AdminApp(health, metrics, api, Guard(token), self._log)

    @property
    def hub_delays(self) -> HubDelays:
        """How late the hub came to its heartbeats."""
        return self._watchdog.delays

    def is_idle(self) -> bool:
        """Tells whether nothing waits or runs in any queue that an active consumer empties."""
        active = self._active(self.consumers)
        queues = {self.consumers[name].config.queue for name in active}
        return not any(self._holds_work(queue) for queue in queues)

    def _active(self, names: Collection[str]) -> list[str]:
        states = self.supervisor.services()
        return [name for name in names if states[name].active]

    def _build(self) -> None:
        self._load_lua()
        for entry in self.registry.find("queue.driver"):
            self.add_driver(entry)
        for entry in self.registry.find("queue.queue"):
            self.manager.add_queue(queue_config(self.registry, entry))
        for entry in self.registry.find("queue.consumer"):
            self.add_consumer(entry)
        for entry in self.registry.find("process.service"):
            self._add_process(entry)

    def _load_lua(self) -> None:
        """Compiles every source and loads every function; raises ConfigError with all problems."""
        problems = LuaProblems(self.registry)
        if self.main is not None:
            problems.compile(self.main.source, Mark(self.main.source.name))
        others: list[Problem] = []
        for entry in self.registry.with_source():
            if (
                problems.compile(source_of(entry), entry.mark, entry.id)
                and entry.kind in PROGRAM_KINDS
            ):
                try:
                    self._add_function(entry)
                except ConfigError as error:
                    others += error.problems
                except CallError as error:
                    problems.failed(entry, error)
        found = sorted([*problems, *others], key=in_file_order)
        if found:
            raise ConfigError(found)

    def _add_function(self, entry: Entry) -> None:
        self.functions.add(program_of(self.registry, entry))
        if self._purpose is not Purpose.RUN or not entry.is_test:
            self.functions.warm(entry.id)

    def add_driver(self, entry: Entry) -> None:
        log = self._log.bind(logger="driver", driver=entry.id)
        make = make_stand_in if self._purpose is Purpose.TEST else make_driver
        driver = make(self.registry.with_named(entry), self._clock, log)
        self.manager.add_driver(entry.id, driver)
        service = DriverService(driver, lambda: self._declare_queues(entry.id))
        # A driver with queues starts always: a program may publish though nothing consumes here.
        in_use = any(
            entry.id in self.registry.dependencies(q.id) for q in self.registry.find("queue.queue")
        )
        self._add_service(entry, service, auto_start=in_use or None)

    def _declare_queues(self, driver: str) -> None:
        for config in self.manager:
            if config.driver == driver:
                self.manager.declare(config.id)

    def add_consumer(self, entry: Entry, starter: Security | None = None) -> None:
        """Adds a consumer; it acts as the code that starts it, else as its entry says."""
        config = consumer_config(self.registry, entry)
        queue = self.manager.config(config.queue)
        consumer = Consumer(
            config,
            queue,
            self.manager.driver(config.queue),
            self.functions.handle,
            None if queue.dead_letter is None else self.manager.dead_letter_move(queue),
            self._clock,
            self._log,
            starter or self._security(entry),
            self.pauses,
        )
        self.consumers[entry.id] = consumer
        self._add_service(entry, consumer)

    def _add_process(self, entry: Entry) -> None:
        program = self.functions.program(entry.spec_as(ProcessServiceSpec).process)
        security = self._security(entry)
        service = ProcessService(
            entry.id,
            lambda: self.functions.load(program, security),
            self.functions.in_progress,
            self._log,
            security,
        )
        self._processes.add(entry.id)
        auto_start = False if self._purpose is Purpose.TEST else None
        self._add_service(entry, service, auto_start=auto_start)

    def _security(self, entry: Entry) -> Security | None:
        return self.policies.context_of(_lifecycle(entry).security)

    def _add_service(
        self, entry: Entry, service: Service, *, auto_start: bool | None = None
    ) -> None:
        lifecycle = _lifecycle(entry)
        self.supervisor.add(
            ServiceSpec(
                id=entry.id,
                service=service,
                requires=self._services_below(entry.id),
                auto_start=lifecycle.auto_start if auto_start is None else auto_start,
                required=lifecycle.startup == "required",
                start_timeout=lifecycle.start_timeout,
                stop_timeout=lifecycle.stop_timeout,
                stable_threshold=lifecycle.stable_threshold,
                restart=Restart(
                    **{
                        f: getattr(lifecycle.restart, f)
                        for f in lifecycle.restart.__struct_fields__
                    }
                ),
            )
        )

    def _services_below(self, entry_id: str) -> frozenset[str]:
        """Returns the nearest services that an entry depends on, through entries that are none."""
        found: set[str] = set()
        for below in self.registry.dependencies(entry_id):
            entry = self.registry.get(below)
            is_service = entry is not None and hasattr(entry.spec, "lifecycle")
            found |= {below} if is_service else self._services_below(below)
        return frozenset(found)

    def _holds_work(self, queue: str) -> bool:
        info = self.manager.info(queue)
        known = (info.ready, info.in_flight, info.delayed)
        return any(known)

    def _report_left(self) -> None:
        for config in self.manager:
            if self.manager.driver(config.id).capabilities.durable:
                continue
            try:
                info = self.manager.info(config.id)
            except WippyError as error:
                # It was never declared, as when the start failed.
                self._log.debug("queue not known", queue=config.id, error=error.message)
                continue
            if info.message_count:
                self._log.warning(
                    "messages left in queue",
                    queue=config.id,
                    ready=info.ready,
                    in_flight=info.in_flight,
                    delayed=info.delayed,
                )


def _lifecycle(entry: Entry) -> Lifecycle:
    lifecycle: Lifecycle = getattr(entry.spec, "lifecycle")  # noqa: B009 - every service kind has it
    return lifecycle


def _main_program(place: Place) -> Program | None:
    source = place.main_source()
    if source is None:
        return None
    return Program(id=source.name, source=source, modules=None, folder=place.folder)


def _errors_of(stop: Callable[[], None]) -> list[Exception]:
    try:
        stop()
    except ExceptionGroup as group:
        return list(group.exceptions)
    except StopTimeout as error:
        return [error]
    return []
