"""Lua that does not compile or load, told like any other problem of an app: with its place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from lupa import lua54

from wippy_lua.errors import CallError
from wippy_lua.registry.entry import Entry, Source
from wippy_lua.registry.problem import Mark, Problem, problem_at

_PLACE = re.compile(r"(?P<name>[^\n]+?):(?P<line>\d+): (?P<text>.*)", re.DOTALL)


class LuaProblems:
    """Collects them for all sources of one app, each place once.

    A library that does not compile fails every function that imports it; it is told for itself.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._files = {each.source.name: each.source for each in entries if each.source is not None}
        self._found: dict[tuple[str, int, int, str], Problem] = {}

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found.values())

    def compile(self, source: Source, mark: Mark, entry: str = "") -> bool:
        """Tells whether a source compiles; `mark` is where it is when that is no file."""
        self._files[source.name] = source
        name = f"@{source.name}".encode()
        try:
            lua54.LuaRuntime(encoding=None).compile(source.text, name=name, mode=b"t")
        except lua54.LuaError as error:
            self._add(entry, error.args[0].decode("utf-8", "replace"), mark)
            return False
        return True

    def failed(self, entry: Entry, error: CallError) -> None:
        """Takes note that an entry's program did not load."""
        self._add(entry.id, error.message, entry.mark)

    def _add(self, entry: str, message: str, mark: Mark) -> None:
        place = _PLACE.fullmatch(message)
        source = self._files.get(place["name"]) if place else None
        if place and source is not None and source.path is not None:
            mark, message = Mark(source.path.as_posix(), int(place["line"]), 1), place["text"]
        problem = problem_at(mark, entry, message)
        self._found.setdefault((mark.file, mark.line, mark.column, message), problem)
