"""`--set ns:name.field.sub=value`: fields of entries, set from outside their files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from wippy_lua.registry.build import Declaration
from wippy_lua.registry.problem import Mark, Problem, problem_at
from wippy_lua.registry.suggest import did_you_mean
from wippy_lua.registry.tree import Item, Node, TreeError

MARK = Mark("--set")


def apply_overrides(
    declarations: Sequence[Declaration], overrides: Sequence[str], env: Mapping[str, str]
) -> tuple[list[Declaration], list[Problem]]:
    """Returns the declarations with every override applied in turn, and what was wrong."""
    by_id = {declaration.id: declaration for declaration in declarations}
    problems: list[Problem] = []
    for override in overrides:
        try:
            changed = _apply(by_id, override, env)
        except TreeError as error:
            # Without the value, which may be a password.
            target = override.partition("=")[0]
            problems.append(problem_at(error.mark, "", f"{target!r}: {error.message}"))
        else:
            by_id[changed.id] = changed
    return list(by_id.values()), problems


def _apply(by_id: Mapping[str, Declaration], override: str, env: Mapping[str, str]) -> Declaration:
    target, equals, text = override.partition("=")
    if not equals:
        raise TreeError(MARK, "is not of the form 'namespace:name.field=value'")
    declaration = by_id[_find(target, by_id)]
    path = target[len(declaration.id) + 1 :].split(".")
    if not all(path):
        raise TreeError(MARK, f"names no field of {declaration.id}")
    if path[0] == "name":
        raise TreeError(MARK, "an entry's name cannot be set")
    items = _set(declaration.items, path, _value(text, env))
    return replace(declaration, items=items)


def _find(target: str, ids: Iterable[str]) -> str:
    # Names may have dots themselves, so the longest entry that fits is the one meant.
    known = list(ids)
    fitting = [each for each in known if target == each or target.startswith(f"{each}.")]
    if fitting:
        return max(fitting, key=len)
    namespace, _, rest = target.partition(":")
    entry = f"{namespace}:{rest.partition('.')[0]}" if rest else target
    raise TreeError(MARK, f"no entry {entry!r}{did_you_mean(entry, known)}")


def _value(text: str, env: Mapping[str, str]) -> Node:
    from wippy_lua.registry.reader import read_yaml

    node, problems = read_yaml(text, MARK.file, env, has_lines=False)
    for mark, message in problems:
        raise TreeError(mark, message)
    return node


def _set(items: dict[str, Item], path: list[str], value: Node) -> dict[str, Item]:
    """Returns the map with one field changed; maps on the way are made when they are missing."""
    name, rest = path[0], path[1:]
    if not rest:
        return {**items, name: Item(MARK, value)}
    old = items.get(name, Item(MARK, Node(MARK, None)))
    below = {} if old.node.value is None else old.node.value
    if not isinstance(below, dict):
        raise TreeError(MARK, f"field {name!r} is not a map")
    node = Node(old.node.mark, _set(below, rest, value))
    return {**items, name: Item(old.mark, node)}
