"""What the registry is made of: entries, their IDs, their sources and their references.

An ID is `namespace:name`, a plain string everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from wippy_lua.registry.problem import Mark

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.\-]*"
_NAME = re.compile(_PART)
_ID = re.compile(rf"{_PART}:{_PART}")

NAME_RULE = "letters, digits, '_', '.' and '-'"

SpecT = TypeVar("SpecT", bound=msgspec.Struct)


def is_name(text: str) -> bool:
    """Tells whether this can be a namespace or an entry's name."""
    return _NAME.fullmatch(text) is not None


def parse_id(text: str, namespace: str = "") -> str:
    """Returns the full ID of a reference; without a colon it is looked up in `namespace`.

    Raises `ValueError` whose message says what an ID is.
    """
    full = text if ":" in text or not namespace else f"{namespace}:{text}"
    if not _ID.fullmatch(full):
        raise ValueError(f"{text!r} is not an ID: 'namespace:name', each of {NAME_RULE}")
    return full


def is_of_kind(kind: str, wanted: str) -> bool:
    """Tells whether a kind is the wanted one or below it; an empty `wanted` is any kind.

    `queue.driver.memory` is below `queue.driver`.
    """
    return not wanted or kind == wanted or kind.startswith(f"{wanted}.")


@dataclass(frozen=True, slots=True)
class Reference:
    """One entry names another: `field` is the path of the field, `kinds` what it may be."""

    field: str
    target: str
    kinds: tuple[str, ...]
    mark: Mark

    @property
    def is_dead_letter(self) -> bool:
        return self.field == "dead_letter.queue"


@dataclass(frozen=True, slots=True)
class Source:
    """Lua text as it was when the registry was loaded.

    `name` is the chunk name of tracebacks: the file relative to the app's folder, or the
    entry's ID for text inside YAML, which has no `path`.
    """

    name: str
    text: bytes
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One declared thing: `spec` is the struct that `kinds.py` has for its kind.

    `folder` is the one that relative paths in the entry start from; `modules` are what Lua may
    require, `groups` those of policies that it acts by, each with the place that names it. `named`
    are the entries that it refers to, by ID; only `Registry.with_named` fills it.
    """

    id: str
    kind: str
    spec: msgspec.Struct
    mark: Mark
    folder: Path
    meta: Mapping[str, object] = field(default_factory=dict)
    source: Source | None = None
    modules: tuple[tuple[str, Mark], ...] = ()
    groups: tuple[tuple[str, Mark], ...] = ()
    references: tuple[Reference, ...] = ()
    named: Mapping[str, Entry] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return self.id.partition(":")[0]

    @property
    def name(self) -> str:
        return self.id.partition(":")[2]

    @property
    def is_test(self) -> bool:
        """True for a function that `wippy-lua test` calls, and a run has no use for."""
        return self.kind == "function.lua" and self.meta.get("type") == "test"

    def spec_as(self, spec_type: type[SpecT]) -> SpecT:
        """Returns the spec with its type; raises `TypeError` when the entry is of another kind."""
        if not isinstance(self.spec, spec_type):
            raise TypeError(f"{self.id} is a {self.kind}, which has no {spec_type.__name__}")
        return self.spec


def source_of(entry: Entry) -> Source:
    """Returns the entry's Lua; raises `TypeError` for a kind that has none."""
    if entry.source is None:
        raise TypeError(f"{entry.id} is a {entry.kind}, which has no Lua source")
    return entry.source
