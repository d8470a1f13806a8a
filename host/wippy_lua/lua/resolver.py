"""What `require` finds: only what the entry allows, and a clear line for what it does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from wippy_lua.call import Call
from wippy_lua.errors import Kind, WippyError
from wippy_lua.lua import bytecode
from wippy_lua.lua.program import Program
from wippy_lua.lua.runtime import HostFunction, Module
from wippy_lua.lua.stdlib import library_names
from wippy_lua.queue.codec import pack

#: Python functions by name: what `Host(modules=...)` takes for each module.
PythonModule = Mapping[str, Callable[..., Any]]

#: Returns the host functions of a standard module by name.
MakeFunctions = Callable[[], Mapping[str, HostFunction]]

_ALWAYS = frozenset({"errors"})  #: modules that need no permission


def module_names(python_modules: Mapping[str, PythonModule]) -> frozenset[str]:
    """Returns every name that an entry's `modules` may list."""
    return library_names() | python_modules.keys()


class Resolver:
    """Finds modules for every VM of a host.

    `functions` make the host functions of standard modules, by module name; `python_modules` are
    the embedding program's own.
    """

    def __init__(
        self,
        functions: Mapping[str, MakeFunctions],
        python_modules: Mapping[str, PythonModule],
    ) -> None:
        self._functions = functions
        self._python_modules = python_modules

    def names(self) -> frozenset[str]:
        """Returns every name that an entry's `modules` may list."""
        return module_names(self._python_modules)

    def __call__(self, program: Program, name: str) -> Module:
        """Returns the module that `name` means to a program; raises WippyError when none is."""
        imported = program.imports.get(name)
        if imported is not None:
            return Module("script", imported.text, f"@{imported.name}")
        if name in self.names():
            self._check_allowed(program, name)
            return self._module(name)
        script = _script_in(program.folder, name)
        if script is None:
            raise self._not_found(program, name)
        return script

    def invoke(self, _call: Call, module: bytes, function: bytes, arguments: bytes) -> bytes:
        """Calls a Python function for Lua; what it raises becomes an error of kind INTERNAL."""
        name = f"{module.decode()}.{function.decode()}"
        python_function = self._python_modules[module.decode()][function.decode()]
        try:
            return pack(python_function(*msgspec.msgpack.decode(arguments)))
        except WippyError:
            raise
        except Exception as error:
            message = f"{name}: {type(error).__name__}: {error}"
            raise WippyError(message, kind=Kind.INTERNAL) from error

    def _module(self, name: str) -> Module:
        if name in self._python_modules:
            return Module("host", functions=self._python_modules[name])
        source = bytecode.library(name)
        if source is None:
            raise AssertionError(f"standard module {name} has no source")
        make = self._functions.get(name, dict)
        return Module("library", source, functions=make())

    def _check_allowed(self, program: Program, name: str) -> None:
        if program.modules is not None and name not in program.modules | _ALWAYS:
            raise WippyError(
                f"module {name!r} is not allowed: add it to 'modules' of {program.id}",
                kind=Kind.PERMISSION_DENIED,
                retryable=False,
            )

    def _not_found(self, program: Program, name: str) -> WippyError:
        from difflib import get_close_matches

        known: Iterable[str] = {*self.names(), *program.imports}
        close = get_close_matches(name, known, n=1)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        return WippyError(f"module {name!r} not found{meant}", kind=Kind.NOT_FOUND, retryable=False)


def _script_in(folder: Path | None, name: str) -> Module | None:
    """Finds `a.b` as a/b.lua or a/b/init.lua below a bare program's own folder."""
    parts = name.split(".")
    if folder is None or not all(part.replace("-", "_").isidentifier() for part in parts):
        return None
    for file in (folder.joinpath(*parts).with_suffix(".lua"), folder.joinpath(*parts, "init.lua")):
        if file.is_file():
            return Module("script", file.read_bytes(), f"@{file.relative_to(folder).as_posix()}")
    return None
