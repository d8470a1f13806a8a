"""Writes the reference of the Lua library, stdlib/README.md, from the annotations of its modules.

python -m tests.reference           writes it
python -m tests.reference --check   fails when it is not what would be written
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.annotations import (
    Alias,
    Class,
    Constant,
    Field,
    Function,
    Module,
    Parameter,
    Result,
    module_names,
    read_globals,
    read_module,
)
from wippy_lua.lua.stdlib import stdlib_root

FILE = Path(str(stdlib_root())) / "README.md"
HEAD = """\
# The Lua library

What a function may `require`, and the globals beyond Lua's own. Written by
`python -m tests.reference` from the annotations in these files, which the Lua language server reads
as well: change those, not this page.

A type with `?` may be nil. Functions return `nil, err` for what can happen; errors are described
under [errors](#errors). Durations are text such as `"250ms"` or `"1h30m"`, or seconds; in `time`,
nanoseconds.

| module | what it is for |
|---|---|
"""


def render() -> str:
    """Returns the whole page."""
    modules = [read_module(name) for name in module_names()]
    rows = [f"| [{module.name}](#{module.name}) | {first_sentence(module)} |" for module in modules]
    rows.append("| [globals](#globals) | What needs no `require`. |")
    parts = ["\n".join([HEAD.rstrip(), *rows])]
    parts += [part for module in modules for part in module_parts(module)]
    parts += ["## globals", *map(function_part, read_globals().functions.values())]
    return "\n\n".join(parts) + "\n"


def first_sentence(module: Module) -> str:
    text = " ".join(module.text.split())
    end = text.find(". ")
    return cell(text if end < 0 else text[: end + 1])


def module_parts(module: Module) -> Iterator[str]:
    main = module.main
    yield f"## {module.name}"
    yield module.text
    if main.name != module.name:
        link = f"[{main.name}]({anchor(main)})"
        yield f'`require("{module.name}")` returns {article(main.name)} {link}.'
    else:
        yield from content(main)
    yield from (alias_part(alias) for alias in module.aliases.values())
    for each in module.classes.values():
        if each.name != module.name:
            yield f"### {each.name}"
            yield from filter(None, [each.text])
            yield from content(each)


def content(each: Class) -> Iterator[str]:
    if each.fields:
        yield table(("field", "type", ""), map(field_row, each.fields.values()))
    if each.constants:
        yield constants_part(each.constants.values())
    yield from map(function_part, each.functions.values())


def article(name: str) -> str:
    return "an" if name[0] in "AEIOU" else "a"


def anchor(each: Class) -> str:
    return "#" + each.name.lower().replace(".", "")


def field_row(field: Field) -> tuple[str, str, str]:
    return f"`{field.name}`", code(optional(field.type, field.optional)), field.text


def constants_part(constants: Iterable[Constant]) -> str:
    return table(
        ("constant", "value", ""),
        ((f"`{each.name}`", code(each.value), each.text) for each in constants),
    )


def alias_part(alias: Alias) -> str:
    text = f": {' '.join(alias.text.split())}" if alias.text else ""
    return f"`{alias.name}` is `{alias.type}`{text}"


def function_part(function: Function) -> str:
    parts = [f"#### `{signature(function)}`", function.text]
    if lines := [*parameter_lines(function.parameters), *result_lines(function.results)]:
        parts.append("\n".join(lines))
    if function.example:
        parts.append(f"```lua\n{function.example.rstrip()}\n```")
    return "\n\n".join(parts)


def signature(function: Function) -> str:
    """Returns how a function is called: `store.get(id)`, `Store:set(key, value[, ttl])`."""
    owner = function.owner.rpartition(".")[2] if function.is_method else function.owner
    mark = ":" if function.is_method else "."
    start = "" if owner == "_G" else owner + mark
    return f"{start}{function.name}({parameters(function.parameters)})"


def parameters(them: Iterable[Parameter]) -> str:
    shown, closing = "", ""
    for index, each in enumerate(them):
        comma = ", " if index else ""
        if each.optional:
            shown += f"[{comma}{each.name}"
            closing += "]"
        else:
            shown += comma + each.name
    return shown + closing


def parameter_lines(them: Iterable[Parameter]) -> Iterator[str]:
    for each in them:
        yield line(f"`{each.name}`", optional(each.type, each.optional), each.text)


def result_lines(results: Iterable[Result]) -> Iterator[str]:
    for index, each in enumerate(results):
        name = f" `{each.name}`" if each.name else ""
        yield line(("returns" if index == 0 else "and") + name, each.type, each.text)


def line(head: str, type_: str, text: str) -> str:
    return f"- {head} `{type_}`" + (f" {text}" if text else "")


def optional(type_: str, is_optional: bool) -> str:
    return f"{type_}?" if is_optional and not type_.endswith("?") else type_


def code(text: str) -> str:
    return f"`{text}`"


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *(tuple(map(cell, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(each)} |" for each in lines)


def cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    FILE.write_text(render())
