"""Puts a host together: registry entries become functions, drivers, queues and services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wippy_lua.call import Call
from wippy_lua.clock import Clock
from wippy_lua.declarations import Declarations
from wippy_lua.errors import CallError, ConfigError, Kind, WippyError
from wippy_lua.functions import Functions
from wippy_lua.log import Log
from wippy_lua.lua.libraries import Libraries
from wippy_lua.lua.program import Program
from wippy_lua.lua.programs import program_of
from wippy_lua.lua.resolver import PythonModule
from wippy_lua.queue.consumer import Consumer
from wippy_lua.queue.drivers import make_driver
from wippy_lua.queue.manager import QueueManager
from wippy_lua.registry.configs import consumer_config, host_spec, queue_config
from wippy_lua.registry.entry import Entry, Source
from wippy_lua.registry.kinds import Lifecycle, ProcessServiceSpec
from wippy_lua.registry.loader import load_folder
from wippy_lua.registry.problem import Problem
from wippy_lua.registry.registry import Registry
from wippy_lua.services import DriverService, ProcessService
from wippy_lua.supervisor.state import Restart, Service, ServiceSpec
from wippy_lua.supervisor.supervisor import Supervisor
from wippy_lua.watchdog import Watchdog


@dataclass(frozen=True, slots=True)
class Place:
    """Where an app is: its folder, and its `main.lua` when it was given as one or has one."""

    folder: Path
    main: Path | None

    @classmethod
    def of(cls, path: Path) -> Place:
        """Finds an app by its folder, its `_index.yaml` or its `main.lua`; raises ConfigError."""
        if path.is_dir():
            main = path / "main.lua"
            return cls(path, main if main.is_file() else None)
        if not path.is_file():
            raise ConfigError([Problem(str(path), 0, 0, "", "no such file or folder")])
        if path.suffix == ".lua":
            return cls(path.parent, path)
        if path.name == "_index.yaml":
            return cls.of(path.parent)
        raise ConfigError(
            [Problem(str(path), 0, 0, "", "an app is a folder, an _index.yaml or a .lua file")]
        )


class App:
    """The parts of one host, connected. `App.load` makes it; nothing runs before `start`."""

    def __init__(
        self,
        place: Place,
        registry: Registry,
        libraries: Libraries,
        manager: QueueManager,
        clock: Clock,
        log: Log,
    ) -> None:
        config = host_spec(registry)
        self.registry = registry
        self.manager = manager
        self.functions = Functions(
            libraries.natives(Declarations(self)),
            log,
            memory=config.vm_memory,
            recycle=config.vm_recycle,
        )
        self.supervisor = Supervisor(clock, log.bind(logger="supervisor"))
        self._libraries = libraries
        self._clock = clock
        self._log = log
        self._watchdog = Watchdog(config.stall_limit, log)
        self.consumers: dict[str, Consumer] = {}
        self.main = _main_program(place)

    @classmethod
    def load(
        cls,
        path: Path,
        *,
        python_modules: Mapping[str, PythonModule],
        env: Mapping[str, str],
        overrides: Sequence[str],
        log: Log,
        log_level: str,
        clock: Clock,
    ) -> App:
        """Loads an app and connects its parts; raises ConfigError with every problem."""
        place = Place.of(path)
        manager = QueueManager(clock)
        libraries = Libraries(manager, python_modules, clock, log, log_level)
        registry = load_folder(
            place.folder, env=env, overrides=overrides, modules=libraries.names()
        )
        app = cls(place, registry, libraries, manager, clock, log)
        libraries.add_entries(registry)
        app._build()
        return app

    def start(self) -> None:
        """Starts what has `auto_start`."""
        for problem in self.registry.problems:
            self._log.warning("registry", problem=str(problem))
        self._watchdog.start()
        self.functions.start()
        try:
            self.supervisor.start()
        except BaseException:
            self.functions.stop()
            self._watchdog.stop()
            raise

    def stop(self) -> None:
        """Stops everything, and says what stays in queues that end with the process."""
        try:
            self.supervisor.stop()
        finally:
            self.functions.stop()
            self._watchdog.stop()
            self._report_left()

    def run_main(self, arguments: Sequence[str]) -> object:
        """Runs `main.lua`; None when the app has none."""
        if self.main is None:
            return None
        call = Call(self.main.id)
        vm = self.functions.new_vm(self.main)
        with self.functions.in_progress(call):
            return vm.run(call, arguments)

    def script(self, program: Program, name: str) -> Source:
        """Returns the source of one of the app's own modules; raises WippyError when it is none."""
        module = self._libraries.resolve(program, name)
        if module.kind != "script":
            raise WippyError(f"module {name!r} is no script of the app", kind=Kind.INVALID)
        return Source(module.chunk_name.removeprefix("@"), module.source)

    def has_active_consumers(self) -> bool:
        """Tells whether a consumer runs, or will again after its restart."""
        states = self.supervisor.services()
        return any(states[name].active for name in self.consumers)

    def is_idle(self) -> bool:
        """Tells whether nothing waits or runs in any queue that has a consumer."""
        queues = {consumer.config.queue for consumer in self.consumers.values()}
        return not any(self._holds_work(queue) for queue in queues)

    def _build(self) -> None:
        self._add_functions()
        for entry in self.registry.find("queue.driver"):
            self.add_driver(entry)
        for entry in self.registry.find("queue.queue"):
            self.manager.add_queue(queue_config(self.registry, entry))
        for entry in self.registry.find("queue.consumer"):
            self.add_consumer(entry)
        for entry in self.registry.find("process.service"):
            self._add_process(entry)

    def _add_functions(self) -> None:
        problems: list[Problem] = []
        for entry in [*self.registry.find("function.lua"), *self.registry.find("process.lua")]:
            try:
                self.functions.add(program_of(self.registry, entry))
                self.functions.warm(entry.id)
            except ConfigError as error:
                problems += error.problems
            except CallError as error:
                problems.append(_load_problem(entry, error))
        if problems:
            raise ConfigError(problems)

    def add_driver(self, entry: Entry) -> None:
        driver = make_driver(entry, self._clock, self._log.bind(logger="driver", driver=entry.id))
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

    def add_consumer(self, entry: Entry) -> None:
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
        )
        self.consumers[entry.id] = consumer
        self._add_service(entry, consumer)

    def _add_process(self, entry: Entry) -> None:
        program = self.functions.program(entry.spec_as(ProcessServiceSpec).process)
        service = ProcessService(
            entry.id, lambda: self.functions.load(program), self.functions.in_progress, self._log
        )
        self._add_service(entry, service)

    def _add_service(
        self, entry: Entry, service: Service, *, auto_start: bool | None = None
    ) -> None:
        lifecycle: Lifecycle = getattr(entry.spec, "lifecycle")  # noqa: B009 - every service kind has it
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
            try:
                info = self.manager.info(config.id)
            except WippyError:
                continue  # A driver that has to be connected to be asked keeps what it holds.
            if info.message_count:
                self._log.warning(
                    "messages left in queue",
                    queue=config.id,
                    ready=info.ready,
                    in_flight=info.in_flight,
                    delayed=info.delayed,
                )


def _main_program(place: Place) -> Program | None:
    if place.main is None:
        return None
    name = place.main.name
    return Program(
        id=name,
        source=Source(name, place.main.read_bytes(), place.main),
        modules=None,
        folder=place.folder,
    )


def _load_problem(entry: Entry, error: CallError) -> Problem:
    return Problem(entry.mark.file, entry.mark.line, entry.mark.column, entry.id, error.message)
