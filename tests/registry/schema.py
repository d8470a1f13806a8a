"""The schema of `_index.yaml`, asked as an editor asks it: of the text, variables and all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache

import jsonschema_rs

from wippy_lua.registry.reader import read_yaml
from wippy_lua.registry.schema import index_schema
from wippy_lua.registry.tree import TreeError, to_plain


class Unexpanded(Mapping[str, str]):
    """An environment in which every variable holds what names it."""

    def __getitem__(self, name: str) -> str:
        return f"${{env:{name}}}"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@cache
def validator() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(index_schema())


def complaints(text: str) -> list[str]:
    """Returns what the schema has against a file."""
    try:
        root, problems = read_yaml(text, "_index.yaml", Unexpanded())
    except TreeError as error:
        return [error.message]
    try:
        found = validator().iter_errors(to_plain(root))
        return [message for _, message in problems] + [error.message for error in found]
    except ValueError as error:  # not a number is nothing that JSON could hold
        return [str(error)]
