"""Registry entries with Lua source to programs that a VM can load."""

from __future__ import annotations

from wippy_lua.errors import ConfigError
from wippy_lua.lua.program import Program
from wippy_lua.registry.entry import Entry, source_of
from wippy_lua.registry.kinds import FunctionSpec, LibrarySpec, ProcessSpec
from wippy_lua.registry.problem import Problem, problem_at
from wippy_lua.registry.registry import Registry


def program_of(registry: Registry, entry: Entry) -> Program:
    """Returns the program of a `function.lua` or `process.lua` entry.

    What its libraries may require, it may: they share its VMs. Raises ConfigError when two of them
    mean different libraries by one alias.
    """
    spec = entry.spec
    if not isinstance(spec, FunctionSpec | ProcessSpec):
        raise TypeError(f"{entry.id} is a {entry.kind}, not a function or a process")
    modules, imports = _reachable(registry, entry)
    return Program(
        id=entry.id,
        source=source_of(entry),
        method=spec.method or "main",
        modules=frozenset(modules),
        imports={alias: source_of(library) for alias, library in imports.items()},
        memory=spec.limits.memory,
        timeout=spec.limits.timeout or None if isinstance(spec, FunctionSpec) else None,
        preempt=spec.limits.preempt,
    )


def _reachable(registry: Registry, entry: Entry) -> tuple[set[str], dict[str, Entry]]:
    """Returns the modules and imports of an entry and of all libraries below it."""
    modules: set[str] = set()
    imports: dict[str, Entry] = {}
    pending = [entry]
    seen = set()
    while pending:
        current = pending.pop()
        seen.add(current.id)
        spec = current.spec
        if not isinstance(spec, FunctionSpec | ProcessSpec | LibrarySpec):
            continue
        modules.update(spec.modules)
        for alias, library_id in spec.imports.items():
            library = registry.get(library_id)
            if library is None:
                raise LookupError(f"no entry {library_id!r}")  # the registry has checked it
            if imports.setdefault(alias, library).id != library.id:
                raise ConfigError([_conflict(current, alias, imports[alias], library)])
            if library.id not in seen:
                pending.append(library)
    return modules, imports


def _conflict(entry: Entry, alias: str, first: Entry, second: Entry) -> Problem:
    return problem_at(
        entry.mark,
        entry.id,
        f"imports.{alias} is {second.id}, but {first.id} has that alias in the same VM; rename one",
    )
