"""One declaration, as it stands in a tree, to an entry."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from wippy_lua.registry.decode import Decoder
from wippy_lua.registry.entry import Entry, Reference, Source, is_of_kind
from wippy_lua.registry.files import display_name, read_file
from wippy_lua.registry.kinds import KINDS
from wippy_lua.registry.problem import Mark, Problem
from wippy_lua.registry.suggest import did_you_mean
from wippy_lua.registry.tree import Item, Node, describe, node_at, path_of, to_plain

FILE_SCHEME = "file://"

#: Fields that every kind has.
COMMON_FIELDS = frozenset({"name", "kind", "meta"})


@dataclass(frozen=True, slots=True)
class Declaration:
    """An entry that has an ID and is not checked yet; `items` are all of its fields."""

    id: str
    mark: Mark
    folder: Path
    items: dict[str, Item]

    def is_of(self, kinds: Collection[str]) -> bool:
        """Tells whether its kind is one of `kinds`, or below one."""
        item = self.items.get("kind")
        kind = "" if item is None else str(item.node.value)
        return any(is_of_kind(kind, wanted) for wanted in kinds)


@dataclass(frozen=True, slots=True)
class Built:
    """What became of a declaration. Without an `entry` there are problems.

    `kind` is empty when it is unknown; references are there even when the entry is not, so
    that one broken field does not hide a broken reference.
    """

    id: str
    kind: str
    mark: Mark
    references: tuple[Reference, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    entry: Entry | None


def build(declaration: Declaration, root: Path) -> Built:
    """Checks a declaration by itself; what it refers to is not looked at."""
    decoder = Decoder(declaration.id, declaration.id.partition(":")[0])
    kind = _kind(declaration, decoder)
    entry = _entry(declaration, kind, decoder, root) if kind in KINDS else None
    return Built(
        declaration.id,
        kind,
        declaration.mark,
        tuple(decoder.references),
        tuple(decoder.problems),
        tuple(decoder.warnings),
        None if decoder.problems else entry,
    )


def _kind(declaration: Declaration, decoder: Decoder) -> str:
    """Returns the kind when there is such a one, and reports it otherwise."""
    item = declaration.items.get("kind")
    if item is None or item.node.value is None:
        decoder.report(declaration.mark, "missing field 'kind'")
        return ""
    kind, mark = item.node.value, item.node.mark
    if not isinstance(kind, str):
        decoder.report(mark, f"kind must be a string, not {describe(item.node)}")
        return ""
    if kind not in KINDS:
        meant = did_you_mean(kind, KINDS)
        decoder.report(mark, f"unknown kind {describe(item.node)}{meant}")
        return ""
    return kind


def _entry(declaration: Declaration, kind: str, decoder: Decoder, root: Path) -> Entry | None:
    row, items = KINDS[kind], declaration.items
    fields = {name: item for name, item in items.items() if name not in COMMON_FIELDS}
    node = Node(declaration.mark, fields)
    spec = decoder.struct(node, row.spec, unused=row.unused)
    meta = _meta(items.get("meta"), decoder)
    source = _source(declaration, decoder, root)
    if spec is None:
        return None
    for steps, message in spec.problems():
        decoder.report(node_at(node, steps).mark, f"{path_of(steps)} {message}")
    return Entry(
        id=declaration.id,
        kind=kind,
        spec=spec,
        mark=declaration.mark,
        folder=declaration.folder,
        meta=meta,
        source=source,
        modules=tuple(decoder.modules),
        groups=tuple(decoder.groups),
        references=tuple(decoder.references),
    )


def _meta(item: Item | None, decoder: Decoder) -> dict[str, object]:
    if item is None or item.node.value is None:
        return {}
    if not isinstance(item.node.value, dict):
        decoder.report(item.node.mark, f"meta must be a map, not {describe(item.node)}")
        return {}
    return {key: to_plain(child.node) for key, child in item.node.value.items()}


def _source(declaration: Declaration, decoder: Decoder, root: Path) -> Source | None:
    for text, mark in decoder.sources:
        if text.startswith(FILE_SCHEME):
            return _file_source(text, mark, declaration.folder, decoder, root)
        # One word that ends so is no program: it was meant to be a file.
        if text.endswith(".lua") and len(text.split()) == 1:
            decoder.report(mark, f"source is Lua text; did you mean '{FILE_SCHEME}{text}'?")
        return Source(declaration.id, text.encode())
    return None


def _file_source(
    text: str, mark: Mark, folder: Path, decoder: Decoder, root: Path
) -> Source | None:
    path = folder / text.removeprefix(FILE_SCHEME)
    try:
        return Source(display_name(path, root), read_file(path), path)
    except ValueError as error:
        decoder.report(mark, f"source '{display_name(path, root)}' {error}")
        return None
