"""YAML text to a tree, through PyYAML's events: no Python object is ever made from a tag.

Events rather than composed nodes: they come from libyaml one at a time with their places, so
that depth and the number of values are bounded while reading, and the tree needs one pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.reader import Reader, ReaderError

from wippy_lua.registry.environment import OPENING, expand
from wippy_lua.registry.problem import Mark
from wippy_lua.registry.tree import MAX_DEPTH, Item, Node, TreeError, resolve

MAX_NODES = 200_000  #: values of one text, those behind an alias counted each time

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = frozenset({f"{_TAG}{name}" for name in ("null", "bool", "int", "float")})
_TEXT_TAGS = frozenset({f"{_TAG}str", "!"})
_COLLECTION_TAGS = frozenset({None, "!", f"{_TAG}map", f"{_TAG}seq"})
_MERGE = "<<"


def read_yaml(
    text: str, file: str, env: Mapping[str, str], *, has_lines: bool = True
) -> tuple[Node, list[tuple[Mark, str]]]:
    """Returns the only document of a text with its variables expanded, and what is wrong in it.

    Raises `TreeError` for a text that cannot be read to its end. `has_lines=False` is for text
    without a file, whose places are just `file`.
    """
    reader = _Reader(text, file, env, has_lines)
    try:
        return reader.document(), reader.problems
    except ReaderError as error:
        raise TreeError(reader.mark_of_control(text), str(error.reason)) from error
    except yaml.MarkedYAMLError as error:
        place = error.problem_mark or error.context_mark
        raise TreeError(reader.mark(place), f"not YAML: {error.problem}") from error


class Place(Protocol):
    """A mark of libyaml or of PyYAML's own parser; both count from 0."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...


class _Reader:
    def __init__(self, text: str, file: str, env: Mapping[str, str], has_lines: bool) -> None:
        self.problems: list[tuple[Mark, str]] = []
        self._events: Iterator[Event] = yaml.parse(text, Loader=_LOADER)
        self._file = file
        self._env = env
        self._has_lines = has_lines
        self._count = 0
        self._anchors: dict[str, tuple[Node, int]] = {}

    def mark(self, place: Place | None) -> Mark:
        if place is None or not self._has_lines:
            return Mark(self._file)
        return Mark(self._file, place.line + 1, place.column + 1)

    def mark_of_control(self, text: str) -> Mark:
        # The error itself has an offset that is bytes from libyaml and characters from Python.
        found = Reader.NON_PRINTABLE.search(text)
        if found is None or not self._has_lines:
            return Mark(self._file)
        before = text[: found.start()]
        return Mark(self._file, before.count("\n") + 1, len(before) - before.rfind("\n"))

    def document(self) -> Node:
        next(self._events)  # the start of the stream
        event = next(self._events)
        if isinstance(event, StreamEndEvent):
            return Node(self.mark(event.start_mark), None)
        root = self._node(next(self._events), 0)
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                raise TreeError(self.mark(event.start_mark), "holds more than one YAML document")
            if not isinstance(event, DocumentEndEvent):
                break
        return root

    def _node(self, event: Event, depth: int) -> Node:
        mark = self.mark(event.start_mark)
        if isinstance(event, AliasEvent):
            return self._alias(event, mark)
        before = self._count
        self._grow(1, mark)
        if depth > MAX_DEPTH:
            raise TreeError(mark, f"values are nested more than {MAX_DEPTH} deep")
        node = self._new_node(event, mark, depth)
        if isinstance(event, NodeEvent) and event.anchor is not None:
            self._anchors[event.anchor] = node, self._count - before
        return node

    def _new_node(self, event: Event, mark: Mark, depth: int) -> Node:
        if isinstance(event, ScalarEvent):
            return self._scalar(event, mark)
        if getattr(event, "tag", None) not in _COLLECTION_TAGS:
            self._report_tag(event, mark)
        if isinstance(event, SequenceStartEvent):
            return Node(mark, self._sequence(depth))
        return Node(mark, self._mapping(depth))

    def _alias(self, event: AliasEvent, mark: Mark) -> Node:
        # An anchor is known once its value is complete, so a value can't contain itself.
        if event.anchor not in self._anchors:
            raise TreeError(mark, f"alias '*{event.anchor}' has no anchor before it")
        node, size = self._anchors[event.anchor]
        self._grow(size, mark)
        return node

    def _grow(self, size: int, mark: Mark) -> None:
        self._count += size
        if self._count > MAX_NODES:
            raise TreeError(mark, f"holds more than {MAX_NODES} values, counting aliases")

    def _scalar(self, event: ScalarEvent, mark: Mark) -> Node:
        text, expanded = event.value, None
        if OPENING in text:
            text, problems = expand(text, self._env)
            self.problems += [(mark, problem) for problem in problems]
            expanded = text
        if not _is_unicode(text):
            self.problems.append((mark, "is not valid Unicode"))
        is_text = event.tag in _TEXT_TAGS or (event.tag is None and event.implicit[1])
        if not is_text and event.tag is not None and event.tag not in _SCALAR_TAGS:
            self._report_tag(event, mark)
        return Node(mark, text if is_text else resolve(text), expanded)

    def _sequence(self, depth: int) -> list[Node]:
        children: list[Node] = []
        for event in self._events:
            if isinstance(event, SequenceEndEvent):
                break
            children.append(self._node(event, depth + 1))
        return children

    def _mapping(self, depth: int) -> dict[str, Item]:
        items: dict[str, Item] = {}
        merged: list[Node] = []
        for event in self._events:
            if isinstance(event, MappingEndEvent):
                break
            mark = self.mark(event.start_mark)
            key = self._key(event, mark)
            node = self._node(next(self._events), depth + 1)
            if key == _MERGE:
                merged += node.value if isinstance(node.value, list) else [node]
            elif key in items:
                first = items[key].mark
                self.problems.append((mark, f"duplicate key {key!r}, first in line {first.line}"))
            else:
                items[key] = Item(mark, node)
        for base in merged:
            self._merge(items, base)
        return items

    def _key(self, event: Event, mark: Mark) -> str:
        if isinstance(event, ScalarEvent):
            self._grow(1, mark)
            if event.anchor is not None:
                self._anchors[event.anchor] = Node(mark, event.value), 1
            return event.value
        if isinstance(event, AliasEvent):
            key = self._alias(event, mark).value
            if isinstance(key, str):
                return key
        raise TreeError(mark, "keys must be strings")

    def _merge(self, items: dict[str, Item], base: Node) -> None:
        if not isinstance(base.value, dict):
            self.problems.append((base.mark, f"'{_MERGE}' takes a map or a list of maps"))
            return
        for key, item in base.value.items():
            items.setdefault(key, item)

    def _report_tag(self, event: Event, mark: Mark) -> None:
        tag = str(getattr(event, "tag", "")).replace(_TAG, "!!")
        self.problems.append((mark, f"tag '{tag}' is not supported"))


def _is_unicode(text: str) -> bool:
    """Tells lone surrogates, which an environment with other bytes than UTF-8 brings in."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
