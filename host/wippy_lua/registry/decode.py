"""A tree against a struct: every field typed, in range, and every problem reported with its place.

A decoder never stops at the first problem. Once it has reported one, what it returns has no
meaning, and the entry it works for is dropped.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, ClassVar, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec.structs import FieldInfo

from wippy_lua.registry.entry import Reference, parse_id
from wippy_lua.registry.fields import Form, Name, Ref
from wippy_lua.registry.problem import Mark, Problem, problem_at
from wippy_lua.registry.suggest import did_you_mean
from wippy_lua.registry.tree import Item, Node, describe, resolve, to_plain
from wippy_lua.units import parse_duration, parse_size

StructT = TypeVar("StructT", bound=msgspec.Struct)
Read: TypeAlias = Callable[["Decoder", Node, str], object]

# What people write who learned YAML 1.1; anywhere else these are strings.
_SPOKEN_BOOLS = {"yes": True, "on": True, "no": False, "off": False}


@dataclass(frozen=True, slots=True)
class Shape:
    """A field's type taken apart: `str`, a struct, `tuple`, `Mapping`, `Literal` or `object`."""

    base: object
    args: tuple[object, ...]
    form: Form | None = None
    ref: Ref | None = None
    bounds: msgspec.Meta | None = None


class Decoder:
    """Decodes one entry; `problems`, the other lists are what it met."""

    def __init__(self, entry: str, namespace: str) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.references: list[Reference] = []
        self.sources: list[tuple[str, Mark]] = []
        self.modules: list[tuple[str, Mark]] = []
        self.groups: list[tuple[str, Mark]] = []
        self._entry = entry
        self._namespace = namespace

    def struct(
        self,
        node: Node,
        struct_type: type[StructT],
        path: str = "",
        unused: frozenset[str] = frozenset(),
    ) -> StructT | None:
        """Returns the struct, or None when anything below it was reported.

        `unused` fields are accepted with a warning. An empty value is as good as none.
        """
        if not isinstance(node.value, dict):
            self.report(node.mark, f"{path} must be a map, not {describe(node)}")
            return None
        before = len(self.problems)
        fields = fields_of(struct_type)
        values: dict[str, object] = {}
        for name, item in node.value.items():
            if name in fields:
                if item.node.value is not None:
                    values[name] = self.value(item.node, fields[name].type, _join(path, name))
            else:
                self._unknown(name, item, path, fields, unused)
        for name, info in fields.items():
            if info.required and name not in values:
                self.report(node.mark, f"missing field {_join(path, name)!r}")
        return struct_type(**values) if len(self.problems) == before else None

    def value(self, node: Node, field_type: object, path: str) -> object:
        """Returns the value of one field."""
        shape = shape_of(field_type)
        if shape.ref is not None:
            return self._reference(node, shape.ref, path)
        if shape.form in self._FORMS:
            return self._bounded(node, self._FORMS[shape.form](self, node, path), shape, path)
        if shape.base in self._SCALARS:
            return self._bounded(node, self._SCALARS[shape.base](self, node, path), shape, path)
        if shape.base is Literal:
            return self._choice(node, shape.args, path)
        if shape.base is tuple:
            return self._tuple(node, shape.args[0], path)
        if shape.base is Mapping:
            return self._mapping(node, shape.args, path)
        if isinstance(shape.base, type) and issubclass(shape.base, msgspec.Struct):
            return self.struct(node, shape.base, path)
        return to_plain(node)

    def report(self, mark: Mark, message: str) -> None:
        """Adds a problem of this entry."""
        self.problems.append(problem_at(mark, self._entry, message))

    def _must(self, node: Node, path: str, what: str) -> None:
        self.report(node.mark, f"{path} must be {what}, not {describe(node)}")

    def _unknown(
        self,
        name: str,
        item: Item,
        path: str,
        fields: Mapping[str, FieldInfo],
        unused: frozenset[str],
    ) -> None:
        field = _join(path, name)
        if name in unused:
            message = f"field {field!r} has no meaning in this host and is ignored"
            self.warnings.append(problem_at(item.mark, self._entry, message, "warning"))
        else:
            self.report(item.mark, f"unknown field {field!r}{did_you_mean(name, fields)}")

    def _string(self, node: Node, path: str) -> str | None:
        if node.text is not None:
            return node.text
        if isinstance(node.value, str):
            return node.value
        self._must(node, path, "a string")
        return None

    def _bool(self, node: Node, path: str) -> bool | None:
        value = _retyped(node)
        if isinstance(value, str):
            value = _SPOKEN_BOOLS.get(value.lower(), value)
        if isinstance(value, bool):
            return value
        self._must(node, path, "true or false")
        return None

    def _int(self, node: Node, path: str) -> int | None:
        value = _retyped(node)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        self._must(node, path, "a whole number")
        return None

    def _float(self, node: Node, path: str) -> float | None:
        value = _retyped(node)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and math.isfinite(value):  # type: ignore[arg-type]
            return float(value)  # type: ignore[arg-type]
        self._must(node, path, "a number")
        return None

    def _choice(self, node: Node, choices: tuple[object, ...], path: str) -> object:
        value = self._string(node, path)
        if value is not None and value not in choices:
            names = [str(choice) for choice in choices]
            meant = did_you_mean(value, names) if node.text is None else ""
            what = f"one of {', '.join(names)}, not {describe(node)}{meant}"
            self.report(node.mark, f"{path} must be {what}")
        return value

    def _tuple(self, node: Node, item_type: object, path: str) -> tuple[object, ...]:
        if not isinstance(node.value, list):
            self._must(node, path, "a list")
            return ()
        children = enumerate(node.value)
        return tuple(self.value(child, item_type, f"{path}[{i}]") for i, child in children)

    def _mapping(self, node: Node, args: tuple[object, ...], path: str) -> dict[str, object]:
        if not isinstance(node.value, dict):
            self._must(node, path, "a map")
            return {}
        names = [str(name) for name in shape_of(args[0]).args]
        values: dict[str, object] = {}
        for key, item in node.value.items():
            if names and key not in names:
                field = _join(path, key)
                self.report(item.mark, f"unknown field {field!r}{did_you_mean(key, names)}")
            values[key] = self.value(item.node, args[1], _join(path, key))
        return values

    def _reference(self, node: Node, ref: Ref, path: str) -> str | None:
        text = self._string(node, path)
        if text is None:
            return None
        try:
            target = parse_id(text, self._namespace)
        except ValueError as error:
            self.report(node.mark, f"{path}: {error}")
            return None
        self.references.append(Reference(path, target, ref.kinds, node.mark))
        return target

    def _duration(self, node: Node, path: str) -> float | None:
        return self._measured(node, path, parse_duration)

    def _size(self, node: Node, path: str) -> float | None:
        return self._measured(node, path, parse_size)

    def _measured(self, node: Node, path: str, parse: Callable[[object], float]) -> float | None:
        try:
            return parse(_retyped(node))
        except ValueError as error:
            # A message shows the value, and what came from the environment stays out of messages.
            hint = str(error) if node.text is None else f"cannot be {describe(node)}"
            self.report(node.mark, f"{path} {hint}")
            return None

    def _not_empty(self, node: Node, path: str) -> str | None:
        text = self._string(node, path)
        if text == "":
            self.report(node.mark, f"{path} must not be empty")
        return text

    def _source(self, node: Node, path: str) -> str | None:
        text = self._not_empty(node, path)
        if text:
            self.sources.append((text, node.mark))
        return text

    def _module(self, node: Node, path: str) -> str | None:
        text = self._not_empty(node, path)
        if text:
            self.modules.append((text, node.mark))
        return text

    def _group(self, node: Node, path: str) -> str | None:
        text = self._not_empty(node, path)
        if text:
            self.groups.append((text, node.mark))
        return text

    def _one_or_many(self, node: Node, path: str) -> tuple[object, ...]:
        if isinstance(node.value, list):
            return self._tuple(node, Name, path)
        return (self._not_empty(node, path),)

    def _bounded(self, node: Node, value: object, shape: Shape, path: str) -> object:
        if shape.bounds is not None and isinstance(value, int | float):
            low, high = shape.bounds.ge, shape.bounds.le
            if (low is not None and value < low) or (high is not None and value > high):
                what = _range(low, high, "B" if shape.form is Form.SIZE else "")
                self._must(node, path, what)
        return value

    _SCALARS: ClassVar[Mapping[object, Read]] = {
        str: _string,
        bool: _bool,
        int: _int,
        float: _float,
    }
    _FORMS: ClassVar[Mapping[Form | None, Read]] = {
        Form.DURATION: _duration,
        Form.SIZE: _size,
        Form.SOURCE: _source,
        Form.MODULE: _module,
        Form.NOT_EMPTY: _not_empty,
        Form.GROUP: _group,
        Form.ONE_OR_MANY: _one_or_many,
    }


@cache
def fields_of(struct_type: type[msgspec.Struct]) -> Mapping[str, FieldInfo]:
    """Returns the fields of a struct by name."""
    return {info.name: info for info in msgspec.structs.fields(struct_type)}


@cache
def shape_of(field_type: object) -> Shape:
    """Takes a field's type apart."""
    origin = get_origin(field_type)
    if origin is Annotated:
        inner, *markers = get_args(field_type)
        shape = shape_of(inner)
        form, ref, bounds = shape.form, shape.ref, shape.bounds
        for marker in markers:
            form = marker if isinstance(marker, Form) else form
            ref = marker if isinstance(marker, Ref) else ref
            bounds = marker if isinstance(marker, msgspec.Meta) else bounds
        return Shape(shape.base, shape.args, form, ref, bounds)
    if origin in (Union, types.UnionType):
        # Only `X | None` occurs, and an empty value never gets here.
        return shape_of(next(arg for arg in get_args(field_type) if arg is not types.NoneType))
    return Shape(origin or field_type, get_args(field_type))


def _retyped(node: Node) -> object:
    """Returns what a scalar means once its variables are replaced, quoted or not."""
    return node.value if node.text is None else resolve(node.text)


def _range(low: object, high: object, unit: str) -> str:
    if high is None:
        return f"at least {low}{unit}"
    return f"between {low}{unit} and {high}{unit}"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
