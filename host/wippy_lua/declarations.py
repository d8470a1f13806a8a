"""What a program declares while it runs: queues and consumers without YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from wippy_lua.call import Call
from wippy_lua.errors import ConfigError, Kind, WippyError
from wippy_lua.lua.program import Program
from wippy_lua.registry.configs import queue_config
from wippy_lua.registry.entry import Entry

if TYPE_CHECKING:
    from wippy_lua.assembly import App

#: The driver of queues that a program declares without naming one.
OWN_DRIVER = "wippy:memory"
#: What stands for the file in problems of such entries.
ORIGIN = "declared from Lua"
#: The namespace of functions that a program hands to `queue.consume`.
NAMESPACE = "lua"


class Declarations:
    """Adds entries to a running app, through the same checks as those of a file."""

    def __init__(self, app: App) -> None:
        self._app = app

    def declare_queue(self, queue: str, fields: Mapping[str, object]) -> None:
        """Adds a queue; quiet when it exists just so, or exists and `fields` is empty."""
        app = self._app
        existing = app.registry.get(queue)
        if existing is not None and not fields:
            return
        if "driver" not in fields:
            self._ensure_own_driver()
        wanted = {"driver": OWN_DRIVER, **fields}
        if existing is not None:
            self._check_same(existing, wanted)
            return
        entry = self._add(queue, "queue.queue", wanted)
        app.manager.add_queue(queue_config(app.registry, entry))
        app.supervisor.start_service(app.manager.config(queue).driver)
        app.manager.declare(queue)

    def consume(
        self, call: Call, queue: str, module: str, method: str, fields: Mapping[str, object]
    ) -> str:
        """Adds a consumer and starts it; returns its ID.

        It acts as the call that declares it: Lua cannot hand out more than it has.
        """
        app = self._app
        app.manager.config(queue)
        if call.security is not None:
            _check_no_security(fields)
        function = self._add_function(call, module, method)
        name = self._free_name(f"{queue}.consumer")
        entry = self._add(name, "queue.consumer", {**fields, "queue": queue, "func": function})
        app.add_consumer(entry, call.security)
        app.supervisor.start_service(entry.id)
        return entry.id

    def _add_function(self, call: Call, module: str, method: str) -> str:
        """Makes a function of what the program named; returns its ID, the same for the same one."""
        program = self._program(call, module, method)
        app = self._app
        if program.id not in app.registry:
            source = program.source.text.decode("utf-8", "replace")
            self._add(program.id, "function.lua", {"source": source, "method": program.method})
            app.functions.add(program)
            app.functions.warm(program.id)
        return program.id

    def _program(self, call: Call, module: str, method: str) -> Program:
        caller = self._caller(call)
        if not module:
            return replace(
                caller, id=_function_id(caller.source.name, method), method=method or "main"
            )
        try:
            return self._in_module(caller, module, method)
        except WippyError:
            outer, _, name = module.rpartition(".")
            if method or not outer:
                raise
            return self._in_module(caller, outer, name)

    def _in_module(self, caller: Program, module: str, method: str) -> Program:
        source = self._app.script(caller, module)
        return replace(
            caller, id=_function_id(module, method), source=source, method=method or "main"
        )

    def _caller(self, call: Call) -> Program:
        main = self._app.main
        if main is not None and call.function == main.id:
            return main
        return self._app.functions.program(call.function)

    def _ensure_own_driver(self) -> None:
        app = self._app
        if OWN_DRIVER not in app.registry:
            app.add_driver(app.registry.add(OWN_DRIVER, "queue.driver.memory", {}, origin=ORIGIN))

    def _check_same(self, existing: Entry, fields: Mapping[str, object]) -> None:
        try:
            wanted = self._app.registry.draft(existing.id, "queue.queue", fields, origin=ORIGIN)
        except ConfigError as error:
            raise _invalid(error) from error
        if wanted.spec != existing.spec:
            raise WippyError(
                f"queue {existing.id!r} is declared otherwise at {existing.mark}:"
                f" {existing.spec}, not {wanted.spec}",
                kind=Kind.CONFLICT,
                retryable=False,
            )

    def _add(self, entry_id: str, kind: str, fields: Mapping[str, object]) -> Entry:
        try:
            return self._app.registry.add(entry_id, kind, fields, origin=ORIGIN)
        except ConfigError as error:
            raise _invalid(error) from error

    def _free_name(self, name: str) -> str:
        number, free = 1, name
        while free in self._app.registry:
            number += 1
            free = f"{name}-{number}"
        return free


def _check_no_security(fields: Mapping[str, object]) -> None:
    lifecycle = fields.get("lifecycle")
    if isinstance(lifecycle, Mapping) and "security" in lifecycle:
        raise WippyError(
            "lifecycle.security cannot be set here: the consumer acts as the code that starts it",
            kind=Kind.INVALID,
            retryable=False,
        )


def _function_id(source: str, method: str) -> str:
    name = source.removesuffix(".lua").replace("/", ".")
    return f"{NAMESPACE}:{name}.{method}" if method else f"{NAMESPACE}:{name}"


def _invalid(error: ConfigError) -> WippyError:
    text = "; ".join(problem.message for problem in error.problems)
    return WippyError(text, kind=Kind.INVALID, retryable=False)
