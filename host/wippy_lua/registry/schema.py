"""The JSON Schema (2020-12) of an `_index.yaml`, made from the kinds: for editors, before a run.

It takes whatever the loader takes but a `kind` from the environment, and refuses most of what that
refuses: what entries say of each other, and bounds of durations and sizes that are text, only the
loader knows. Keywords are those that older drafts have as well, since that is what editors read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import FieldInfo

from wippy_lua.lua.stdlib import library_names
from wippy_lua.registry.decode import Shape, fields_of, shape_of
from wippy_lua.registry.descriptions import COMMON, OF_FIELDS, OF_KINDS
from wippy_lua.registry.fields import Form
from wippy_lua.registry.kinds import KINDS, Row
from wippy_lua.registry.loader import VERSION
from wippy_lua.units import MAX_BYTES, MAX_SECONDS

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.\-]*"
_NUMBER = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)"


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


NULL: Schema = {"type": "null"}
#: A value from the environment, whatever type the field has.
ENV = _ref("env")
NOT_EMPTY: Schema = {"type": "string", "minLength": 1}
#: One word that ends in .lua is no program: it was meant to be a file.
SOURCE: Schema = {**NOT_EMPTY, "not": {"pattern": r"^(?!file://)\S+\.lua$"}}
SPOKEN_BOOL: Schema = {
    "type": "string",
    "pattern": "^([Yy][Ee][Ss]|[Oo][Nn]|[Nn][Oo]|[Oo][Ff][Ff])$",
}
#: What many fields share, by name.
SHARED: Mapping[str, Schema] = {
    "env": {"type": "string", "pattern": r"\$\{env:[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}"},
    "name": {"anyOf": [{"type": "string", "pattern": f"^{_NAME}$"}, ENV]},
    "reference": {"anyOf": [{"type": "string", "pattern": f"^{_NAME}(:{_NAME})?$"}, ENV]},
    "duration": {
        "type": "string",
        "maxLength": 64,
        "pattern": f"^({_NUMBER}|({_NUMBER}(ns|us|µs|μs|ms|s|m|h))+)$",
    },
    "size": {
        "type": "string",
        "maxLength": 64,
        "pattern": f"^{_NUMBER} ?([KkMmGgTt]?[Ii]?[Bb])?$",
    },
    "boolean": {"anyOf": [{"type": "boolean"}, SPOKEN_BOOL, ENV]},
    # Names to choose from; a Python program may bring modules of its own.
    "module": {"anyOf": [{"enum": sorted(library_names())}, NOT_EMPTY]},
}


def index_schema() -> Schema:
    """Returns the schema of a whole file."""
    definitions = dict(SHARED)
    branches = []
    for kind, row in KINDS.items():
        definitions[kind] = _kind(kind, row, definitions)
        chosen = {"required": ["kind"], "properties": {"kind": {"const": kind}}}
        branches.append({"if": chosen, "then": _ref(kind)})
    entry = {
        "type": "object",
        "required": ["name", "kind"],
        "properties": {"kind": {"enum": list(KINDS), "description": COMMON["kind"]}},
        "allOf": branches,
    }
    return {
        "$schema": DIALECT,
        "title": "wippy-lua _index.yaml",
        "type": "object",
        "required": ["version", "namespace"],
        "properties": {
            "version": {"enum": [VERSION, float(VERSION)], "description": "The format's version."},
            "namespace": {**_ref("name"), "description": "What the IDs of the entries begin with."},
            "meta": {"description": "Facts for people."},
            "entries": {"type": ["array", "null"], "items": entry, "description": "The entries."},
        },
        "additionalProperties": False,
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text() -> str:
    """Returns the schema as it is written to a file."""
    return json.dumps(index_schema(), indent=2, ensure_ascii=False) + "\n"


def _kind(kind: str, row: Row, definitions: dict[str, Schema]) -> Schema:
    schema = _struct(row.spec, definitions)
    unused = {
        "description": "Accepted, and ignored: it has no meaning in this host.",
        "deprecated": True,
    }
    schema["description"] = OF_KINDS[kind]
    schema["properties"] = {
        "name": {**_ref("name"), "description": COMMON["name"]},
        "kind": {"const": kind, "description": COMMON["kind"]},
        "meta": {"type": ["object", "null"], "description": COMMON["meta"]},
        **schema["properties"],
        **dict.fromkeys(sorted(row.unused), unused),
    }
    schema["required"] = ["name", "kind", *schema.get("required", ())]
    return schema


def _struct(struct: type[Struct], definitions: dict[str, Schema]) -> Schema:
    fields = fields_of(struct)
    properties = {name: _field(struct, info, definitions) for name, info in fields.items()}
    required = [name for name, info in fields.items() if info.required]
    schema: Schema = {
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
    }
    return {**schema, "required": required} if required else schema


def _field(struct: type[Struct], info: FieldInfo, definitions: dict[str, Schema]) -> Schema:
    schema = _value(shape_of(info.type), definitions)
    if not info.required:
        schema = _or_null(schema)
    schema = {**schema, "description": OF_FIELDS[struct][info.name]}
    default = info.default
    if default is None or default is msgspec.NODEFAULT or isinstance(default, Struct):
        return schema
    return {**schema, "default": list(default) if isinstance(default, tuple) else default}


def _value(shape: Shape, definitions: dict[str, Schema]) -> Schema:
    """Returns the schema of a value, as `Decoder.value` reads it."""
    if shape.ref is not None:
        return _ref("reference")
    if shape.form is not None:
        return _form(shape.form, shape)
    if shape.base is Literal:
        return {"anyOf": [{"enum": list(shape.args)}, ENV]}
    if shape.base is tuple:
        return {"type": "array", "items": _value(shape_of(shape.args[0]), definitions)}
    if shape.base is Mapping:
        return _mapping(shape, definitions)
    if isinstance(shape.base, type) and issubclass(shape.base, Struct):
        name = shape.base.__name__.removesuffix("Spec")
        if name not in definitions:
            definitions[name] = _struct(shape.base, definitions)
        return _ref(name)
    return _scalar(shape)


def _form(form: Form, shape: Shape) -> Schema:
    if form is Form.DURATION:
        return {"anyOf": [_ref("duration"), _number("number", shape, MAX_SECONDS), ENV]}
    if form is Form.SIZE:
        return {"anyOf": [_ref("size"), _number("integer", shape, MAX_BYTES), ENV]}
    if form is Form.MODULE:
        return _ref("module")
    if form is Form.ONE_OR_MANY:
        return {"anyOf": [NOT_EMPTY, {"type": "array", "items": NOT_EMPTY, "minItems": 1}]}
    return SOURCE if form is Form.SOURCE else NOT_EMPTY


def _mapping(shape: Shape, definitions: dict[str, Schema]) -> Schema:
    key, value = map(shape_of, shape.args)
    below = _value(value, definitions)
    if key.base is Literal:
        names = {str(name): below for name in key.args}
        return {"type": "object", "properties": names, "additionalProperties": False}
    return {"type": "object", "additionalProperties": below} if below else {"type": "object"}


def _scalar(shape: Shape) -> Schema:
    if shape.base is str:
        return {"type": "string"}
    if shape.base is bool:
        return _ref("boolean")
    if shape.base is int:
        return {"anyOf": [_number("integer", shape), ENV]}
    if shape.base is float:
        return {"anyOf": [_number("number", shape), ENV]}
    return {}


def _number(type_: str, shape: Shape, ceiling: int | None = None) -> Schema:
    """Returns a number within a field's bounds; with a `ceiling`, none of its kind is below 0."""
    bounds = shape.bounds or msgspec.Meta()
    low = bounds.ge if bounds.ge is not None or ceiling is None else 0
    high = bounds.le if bounds.le is not None else ceiling
    limits = {"minimum": low, "maximum": high}
    return {"type": type_, **{name: value for name, value in limits.items() if value is not None}}


def _or_null(schema: Schema) -> Schema:
    """Returns the schema of a field that may be empty, which is as good as none."""
    if not schema:
        return schema
    if "anyOf" in schema:
        return {"anyOf": [*schema["anyOf"], NULL]}
    if "$ref" in schema:
        return {"anyOf": [schema, NULL]}
    return {**schema, "type": [schema["type"], "null"]}
