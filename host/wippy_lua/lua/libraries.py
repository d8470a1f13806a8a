"""The host side of the standard library, put together for one host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wippy_lua.clock import Clock
from wippy_lua.errors import ConfigError
from wippy_lua.functions import Functions
from wippy_lua.log import Log
from wippy_lua.lua.modules.funcs import FuncsModule
from wippy_lua.lua.modules.logger import LoggerModule
from wippy_lua.lua.modules.queue import App, QueueModule
from wippy_lua.lua.modules.store import StoreModule
from wippy_lua.lua.modules.test import TestModule
from wippy_lua.lua.modules.time import TimeModule
from wippy_lua.lua.program import Program
from wippy_lua.lua.resolver import MakeFunctions, PythonModule, Resolver
from wippy_lua.lua.runtime import HostFunction, Module, Natives
from wippy_lua.queue.manager import QueueManager
from wippy_lua.registry.configs import host_spec
from wippy_lua.registry.entry import Entry
from wippy_lua.registry.kinds import DirectorySpec
from wippy_lua.registry.problem import Problem, problem_at
from wippy_lua.registry.registry import Registry
from wippy_lua.security.policies import Policies
from wippy_lua.store.store import Store

#: Makes the store of an entry; raises ConfigError.
StoreMaker = Callable[[Entry, Clock, Log], Store]

if TYPE_CHECKING:
    from wippy_lua.lua.modules.fs import Folder


class Libraries:
    """Every module that `require` can find in this host."""

    def __init__(
        self,
        manager: QueueManager,
        policies: Policies,
        python_modules: Mapping[str, PythonModule],
        env: Mapping[str, str],
        clock: Clock,
        log: Log,
        log_level: str,
    ) -> None:
        self._manager = manager
        self._env = env
        self._clock = clock
        self._log = log
        self._stores: dict[str, Store] = {}
        self._store = StoreModule(self._stores, clock, log)
        self._folders: dict[str, Folder] = {}
        self._logger = LoggerModule(log, log_level)
        time = TimeModule(clock)
        #: What tells of the cases of tests.
        self.tests = TestModule(clock, time.sleep)
        self._functions: dict[str, MakeFunctions] = {
            "base64": _at_first_use("base64", "Base64Module"),
            "fs": _at_first_use("fs", "FsModule", self._folders),
            "hash": _at_first_use("hash", "HashModule"),
            "json": _at_first_use("json", "JsonModule"),
            "logger": self._logger.functions,
            "security": _at_first_use("security", "SecurityModule", policies),
            "store": self._store.functions,
            "test": self.tests.functions,
            "time": time.functions,
            "uuid": _at_first_use("uuid", "UuidModule", clock),
        }
        self._resolver = Resolver(self._functions, python_modules)

    def resolve(self, program: Program, name: str) -> Module:
        """Returns the module that a name means to a program; raises WippyError when none is."""
        return self._resolver(program, name)

    def natives(self, app: App) -> Natives:
        """Returns what every VM is given; `app` is what a program declares things to."""
        self._functions["queue"] = QueueModule(self._manager, app).functions
        return Natives(self._resolver, self._resolver.invoke, self._logger.print)

    def connect(self, functions: Functions) -> None:
        """Lets Lua call functions; what it declares them with is made from these libraries."""
        funcs = FuncsModule(functions, self._log)
        self._functions["funcs"] = funcs.functions
        self._functions["ctx"] = funcs.context_functions

    def add_entries(self, registry: Registry, make_store: StoreMaker) -> None:
        """Makes the entries known that modules give access to.

        Raises ConfigError with each store that cannot be made, and each `fs.directory` that names
        no folder.
        """
        names = host_spec(registry).env
        self._functions["env"] = _at_first_use("env", "EnvModule", self._env, names)
        self._functions["registry"] = _at_first_use("registry", "RegistryModule", registry)
        problems: list[Problem] = []
        for entry in registry.find("store"):
            try:
                self._stores[entry.id] = make_store(entry, self._clock, self._log)
            except ConfigError as error:
                problems += error.problems
        directories = registry.find("fs.directory")
        problems += [_no_folder(entry) for entry in directories if not _is_folder(_path(entry))]
        if problems:
            raise ConfigError(problems)
        if directories:
            self._add_folders(directories)

    def start(self) -> None:
        """Opens the stores; raises WippyError for one that no retry would help."""
        for store in self._stores.values():
            store.start()

    def stop(self) -> None:
        """Closes the stores, which empties those in memory; nothing is left running."""
        self._store.stop()
        for store in self._stores.values():
            store.stop()

    def _add_folders(self, directories: Sequence[Entry]) -> None:
        from wippy_lua.lua.modules.fs import Folder

        self._folders.update({entry.id: Folder(_path(entry)) for entry in directories})


def _at_first_use(module: str, name: str, *arguments: Any) -> MakeFunctions:
    """Returns what imports a Python side and makes it once `require` asks: most apps need few."""

    @cache
    def make() -> Mapping[str, HostFunction]:
        side = getattr(import_module(f"wippy_lua.lua.modules.{module}"), name)
        functions: Mapping[str, HostFunction] = side(*arguments).functions()
        return functions

    return make


def _path(entry: Entry) -> Path:
    # Made absolute now: the folder stays the same when the process changes its own.
    return (entry.folder / entry.spec_as(DirectorySpec).directory).absolute()


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # the way to it is closed to us
        return False


def _no_folder(entry: Entry) -> Problem:
    directory = entry.spec_as(DirectorySpec).directory
    return problem_at(entry.mark, entry.id, f"directory {directory!r} is not a folder")
