"""The host side of the standard library, put together for one host."""

from __future__ import annotations

from collections.abc import Mapping

from wippy_lua.clock import Clock
from wippy_lua.log import Log
from wippy_lua.lua.modules.logger import LoggerModule
from wippy_lua.lua.modules.queue import App, QueueModule
from wippy_lua.lua.program import Program
from wippy_lua.lua.resolver import PythonModule, Resolver
from wippy_lua.lua.runtime import HostFunction, Module, Natives
from wippy_lua.queue.manager import QueueManager
from wippy_lua.registry.registry import Registry


class Libraries:
    """Every module that `require` can find in this host."""

    def __init__(
        self,
        manager: QueueManager,
        python_modules: Mapping[str, PythonModule],
        clock: Clock,
        log: Log,
        log_level: str,
    ) -> None:
        self._manager = manager
        self._logger = LoggerModule(log, log_level)
        self._functions: dict[str, Mapping[str, HostFunction]] = {
            "logger": self._logger.functions(),
        }
        self._resolver = Resolver(self._functions, python_modules)

    def names(self) -> frozenset[str]:
        """Returns every name that an entry's `modules` may list."""
        return self._resolver.names()

    def resolve(self, program: Program, name: str) -> Module:
        """Returns the module that a name means to a program; raises WippyError when none is."""
        return self._resolver(program, name)

    def natives(self, app: App) -> Natives:
        """Returns what every VM is given; `app` is what a program declares things to."""
        self._functions["queue"] = QueueModule(self._manager, app).functions()
        return Natives(self._resolver, self._resolver.invoke, self._logger.print)

    def add_entries(self, registry: Registry) -> None:
        """Makes the entries known that modules give access to."""
