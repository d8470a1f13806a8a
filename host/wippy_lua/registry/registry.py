"""The entries of one app: looked up by ID and kind, ordered by dependency."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from wippy_lua.errors import ConfigError
from wippy_lua.registry.build import Built, Declaration, build
from wippy_lua.registry.checks import (
    check_cycles,
    check_groups,
    check_modules,
    check_references,
    check_single_host,
    queue_warnings,
)
from wippy_lua.registry.entry import Entry, is_of_kind, parse_id
from wippy_lua.registry.kinds import PolicySpec
from wippy_lua.registry.problem import Mark, Problem, at, in_file_order, problem_at
from wippy_lua.registry.tree import Item, TreeError, from_plain


class Registry:
    """Entries in file order, all of them right: what is wrong was raised as `ConfigError`.

    `modules` are the names that an entry may list; None checks none.
    """

    def __init__(self, folder: Path, *, modules: Collection[str] | None = None) -> None:
        self.folder = folder
        self._modules = modules
        self._entries: dict[str, Entry] = {}
        self._kinds: dict[str, str] = {}
        self._warnings: list[Problem] = []

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Warnings, in file order."""
        return tuple(sorted(self._warnings, key=in_file_order))

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, entry_id: object) -> bool:
        return entry_id in self._entries

    def get(self, entry_id: str) -> Entry | None:
        """Returns the entry with this full ID."""
        return self._entries.get(entry_id)

    def with_named(self, entry: Entry) -> Entry:
        """Returns an entry that has those it refers to with it, for whoever knows no registry."""
        named = {each: self._entries[each] for each in self.dependencies(entry.id)}
        return replace(entry, named=named)

    def find(self, kind: str) -> list[Entry]:
        """Returns the entries of this kind or below it: `queue.driver` finds every driver."""
        return [entry for entry in self if is_of_kind(entry.kind, kind)]

    def with_source(self) -> list[Entry]:
        """Returns the entries that have Lua source."""
        return [entry for entry in self if entry.source is not None]

    def dependencies(self, entry_id: str) -> tuple[str, ...]:
        """Returns the IDs that this entry names anywhere, and so what starts before it."""
        return tuple(dict.fromkeys(ref.target for ref in self._entries[entry_id].references))

    def start_order(self, ids: Iterable[str] | None = None) -> list[list[str]]:
        """Returns levels of IDs: each depends only on levels before its own.

        `ids` and whatever they depend on; None is every entry. Raises `KeyError` for an unknown ID.
        """
        level_of: dict[str, int] = {}
        for entry_id in self._entries if ids is None else ids:
            self._place(entry_id, level_of)
        levels: list[list[str]] = [[] for _ in range(max(level_of.values(), default=-1) + 1)]
        for entry_id in self._entries:
            if entry_id in level_of:
                levels[level_of[entry_id]].append(entry_id)
        return levels

    def draft(
        self, entry_id: str, kind: str, fields: Mapping[str, object], *, origin: str = ""
    ) -> Entry:
        """Returns the entry that `add` would add, checked as there but for its ID being taken."""
        return self._draft(entry_id, kind, fields, origin)[0]

    def add(
        self, entry_id: str, kind: str, fields: Mapping[str, object], *, origin: str = ""
    ) -> Entry:
        """Adds an entry that no file declares, checked like any other.

        `origin` stands for the file in problems; relative paths start from the app's folder.
        Raises `ConfigError` and changes nothing when anything is wrong.
        """
        entry, warnings = self._draft(entry_id, kind, fields, origin)
        if entry_id in self._entries:
            message = f"duplicate ID, first defined{at(self._entries[entry_id].mark)}"
            raise ConfigError([problem_at(entry.mark, entry_id, message)])
        self._entries[entry_id] = entry
        self._kinds[entry_id] = entry.kind
        self._warnings += warnings
        return entry

    def fill(self, declarations: Iterable[Declaration]) -> list[Problem]:
        """Adds all declarations of an app at once and returns every error.

        When there are any, the registry is not to be used.
        """
        built = [build(declaration, self.folder) for declaration in declarations]
        self._kinds.update((each.id, each.kind) for each in built)
        problems = [problem for each in built for problem in each.problems]
        for each in built:
            problems += check_references(each, self._kinds)
            if each.entry is not None:
                problems += check_modules(each.entry, self._modules)
                self._entries[each.id] = each.entry
                self._warnings += each.warnings
        if not any(each.kind == "security.policy" and each.entry is None for each in built):
            problems += check_groups(self, self._groups())
        problems += check_single_host(built)
        problems += check_cycles(built)
        self._warnings += queue_warnings(list(self))
        return problems

    def _draft(
        self, entry_id: str, kind: str, fields: Mapping[str, object], origin: str
    ) -> tuple[Entry, Sequence[Problem]]:
        built = build(_declare(entry_id, kind, fields, Mark(origin), self.folder), self.folder)
        problems = [*built.problems, *self._check_new(built)]
        if problems or built.entry is None:
            raise ConfigError(problems)
        return built.entry, built.warnings

    def _check_new(self, built: Built) -> Iterator[Problem]:
        yield from check_references(built, ChainMap({built.id: built.kind}, self._kinds))
        if built.entry is not None:
            yield from check_modules(built.entry, self._modules)
            yield from check_groups([built.entry], self._groups())
        if built.kind == "host.config":
            yield from check_single_host([*self.find(built.kind), built])
        # Nothing can refer to an entry before it exists, so it can only wait for itself.
        yield from check_cycles([built])

    def _groups(self) -> frozenset[str]:
        policies = (entry.spec_as(PolicySpec) for entry in self.find("security.policy"))
        return frozenset(group for policy in policies for group in policy.groups)

    def _place(self, entry_id: str, level_of: dict[str, int]) -> None:
        """Finds the level of an entry and of all below it, without recursion."""
        pending = [entry_id]
        while pending:
            current = pending[-1]
            below = self.dependencies(current)
            missing = [each for each in below if each not in level_of]
            if missing and current not in level_of:
                pending += missing
                continue
            level_of[pending.pop()] = 1 + max((level_of[each] for each in below), default=-1)


def _declare(
    entry_id: str, kind: str, fields: Mapping[str, object], mark: Mark, folder: Path
) -> Declaration:
    try:
        parse_id(entry_id)
        given = {**fields, "kind": kind}
        items = {name: Item(mark, from_plain(value, mark)) for name, value in given.items()}
    except (TreeError, ValueError) as error:
        raise ConfigError([problem_at(mark, entry_id, str(error))]) from error
    return Declaration(entry_id, mark, folder, items)
