"""The values of a registry before they have types: scalars, lists and maps, each with its place.

YAML files, `--set` and tables given by Lua all become this tree, so one decoder checks them all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec

from wippy_lua.registry.problem import Mark

MAX_DEPTH = 64  #: lists and maps inside each other

#: From a value to one inside it: a key of a map, or an index of a list.
Step: TypeAlias = str | int
Scalar: TypeAlias = bool | int | float | str | None


class Node(msgspec.Struct, frozen=True):
    """A value and where it stands.

    `text` is what a scalar with `${env:NAME}` in it became: a field takes it as the type that
    it wants, and no message shows it, since it may be a secret.
    """

    mark: Mark
    value: Scalar | list[Node] | dict[str, Item]
    text: str | None = None


class Item(msgspec.Struct, frozen=True):
    """One entry of a map; `mark` is where its key stands."""

    mark: Mark
    node: Node


class TreeError(Exception):
    """A whole text or table cannot be read; says where and why."""

    def __init__(self, mark: Mark, message: str) -> None:
        super().__init__(message)
        self.mark = mark
        self.message = message


_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+")
_PREFIXED_INT = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_INT64_DIGITS = 18  #: every int with so many digits fits 64 bits


def resolve(text: str) -> Scalar:
    """Returns what a plain scalar means by YAML 1.2: `010` is ten, `1:30` and `yes` are text.

    An integer over 18 digits becomes a float, as it does in Lua.
    """
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _INT.fullmatch(text) and len(text) <= _INT64_DIGITS:
        return int(text)
    if _PREFIXED_INT.fullmatch(text) and len(text) <= _INT64_DIGITS:
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL_FLOAT.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def from_plain(value: object, mark: Mark, depth: int = 0) -> Node:
    """Returns the tree of a Python value; raises `TreeError` for what YAML could not have said."""
    if depth > MAX_DEPTH:
        raise TreeError(mark, f"values are nested more than {MAX_DEPTH} deep")
    if value is None or isinstance(value, bool | int | float | str):
        return Node(mark, value)
    if isinstance(value, Mapping):
        items: dict[str, Item] = {}
        for key, child in value.items():
            if not isinstance(key, str):
                raise TreeError(mark, f"keys must be strings, not {key!r}")
            items[key] = Item(mark, from_plain(child, mark, depth + 1))
        return Node(mark, items)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return Node(mark, [from_plain(child, mark, depth + 1) for child in value])
    raise TreeError(mark, f"a {type(value).__name__} cannot be configured")


def to_plain(node: Node) -> object:
    """Returns the value without its places."""
    if isinstance(node.value, dict):
        return {key: to_plain(item.node) for key, item in node.value.items()}
    if isinstance(node.value, list):
        return [to_plain(child) for child in node.value]
    return node.value


def node_at(node: Node, steps: Sequence[Step]) -> Node:
    """Returns the value at the end of the steps, or the last one on the way that is there."""
    for step in steps:
        if isinstance(node.value, dict) and step in node.value:
            node = node.value[str(step)].node
        elif isinstance(node.value, list) and isinstance(step, int):
            node = node.value[step]
    return node


def path_of(steps: Sequence[Step]) -> str:
    """Returns how messages name a value: "policy.conditions[0].value"."""
    texts = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps]
    return "".join(texts).removeprefix(".")


def describe(node: Node) -> str:
    """Returns how a message names a value: short, and nothing that came from the environment."""
    if node.text is not None:
        return "the value of its variable"
    match node.value:
        case None:
            return "nothing"
        case bool():
            return "true" if node.value else "false"
        case dict():
            return "a map"
        case list():
            return "a list"
        case str() if len(node.value) > 64:
            return f"{node.value[:64]!r}..."
        case scalar:
            return repr(scalar)
