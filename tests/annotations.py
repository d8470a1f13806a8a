"""What the standard modules say of themselves: their LuaCATS annotations, parsed.

`read_module("store")` is all of one module, the files of its folder included. A tag that is not
known here, or one that cannot be read, raises AnnotationError with its place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from wippy_lua.lua.stdlib import library_names, stdlib_root

GLOBALS = "_G"  #: the class of what has no table


class AnnotationError(Exception):
    """An annotation that cannot be read; says where."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter, without `self`; `...` is one of that name."""

    name: str
    type: str
    text: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """One value that a function returns; it need not have a name."""

    type: str
    name: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a class, or a method: one that is called with a colon.

    `names` are the parameters as the code has them, without `self`; None where another function
    makes it. `example` is Lua, and `example_line` the line of its first one.
    """

    owner: str
    name: str
    place: str
    text: str
    is_method: bool
    names: tuple[str, ...] | None
    parameters: tuple[Parameter, ...]
    results: tuple[Result, ...]
    example: str = ""
    example_line: int = 0


@dataclass(frozen=True, slots=True)
class Constant:
    """A value in a module's table; `value` is its Lua."""

    name: str
    value: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """A field that a class is said to have."""

    name: str
    type: str
    text: str = ""
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Class:
    """A table or an object: a module, what its functions return, or what they take."""

    name: str
    place: str
    text: str = ""
    fields: Mapping[str, Field] = field(default_factory=dict)
    constants: Mapping[str, Constant] = field(default_factory=dict)
    functions: Mapping[str, Function] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alias:
    """A name for a type."""

    name: str
    type: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Module:
    """One module: what it is for, its classes in the order of its files, its aliases."""

    name: str
    text: str
    classes: Mapping[str, Class]
    aliases: Mapping[str, Alias]

    @property
    def main(self) -> Class:
        """What `require` returns."""
        return self.classes.get(self.name) or next(iter(self.classes.values()))

    def functions(self) -> Iterator[Function]:
        """Yields the functions and methods of all classes."""
        for each in self.classes.values():
            yield from each.functions.values()


def module_names() -> tuple[str, ...]:
    """Returns the names of all standard modules, sorted."""
    return tuple(sorted(library_names()))


def module_files(name: str) -> list[Path]:
    """Returns the files of a module, the one that `require` loads first."""
    root = Path(str(stdlib_root()))
    return [root / f"{name}.lua", *sorted((root / name).glob("*.lua"))]


def read_module(name: str) -> Module:
    """Returns what the files of a standard module say."""
    root = Path(str(stdlib_root()))
    files = [(str(file.relative_to(root)), file.read_text()) for file in module_files(name)]
    parsed = [parse(text, place, name) for place, text in files]
    return Module(
        name,
        parsed[0].text,
        {each: found for module in parsed for each, found in module.classes.items()},
        {each: found for module in parsed for each, found in module.aliases.items()},
    )


def read_globals() -> Class:
    """Returns what `_meta/globals.lua` says: the globals beyond Lua's own."""
    file = Path(str(stdlib_root())) / "_meta" / "globals.lua"
    return parse(file.read_text(), "_meta/globals.lua", GLOBALS).classes[GLOBALS]


def parse(text: str, file: str, name: str) -> Module:
    """Returns what one file says."""
    return _Parser(file, name).parse(text.splitlines())


# -------------------------------------------------------------------------------------------------

_COMMENT = re.compile(r"\s*---(?!-) ?(.*)")
_TABLE = re.compile(r"local (\w+)[\w, ]* = .*")
_FUNCTION = re.compile(r"function (?:(\w+)([.:]))?(\w+)\(([^)]*)\)")
_MEMBER = re.compile(r"(?:(\w+)\.)?(\w+) = (.*)")
_CONSTANT = re.compile(r"  (\w+) = (.*),")
_EXAMPLE = re.compile(r"(?:Example:\n)?```lua\n(.*?)^```\n?", re.DOTALL | re.MULTILINE)


@dataclass(slots=True)
class _Comment:
    """Lines of `---` without an empty one between them."""

    line: int
    lines: list[str] = field(default_factory=list)

    @property
    def prose(self) -> str:
        return "\n".join(line for line in self.lines if not line.startswith(("@", "|")))

    @property
    def text(self) -> str:
        return _EXAMPLE.sub("", self.prose + "\n").strip()

    def example(self) -> tuple[str, int]:
        """Returns its example and the line of the file where that begins."""
        found = _EXAMPLE.search(self.prose + "\n")
        if found is None:
            return "", 0
        return found[1], self.line + self.lines.index("```lua") + 1

    def tags(self, name: str) -> Iterator[str]:
        for line in self.lines:
            tag, _, rest = line.partition(" ")
            if tag == f"@{name}":
                yield rest.strip()

    def tag(self, name: str) -> str | None:
        return next(self.tags(name), None)


@dataclass(frozen=True, slots=True)
class _Signature:
    """How a function is called; its fields are those of `Function`."""

    is_method: bool
    names: tuple[str, ...] | None
    parameters: tuple[Parameter, ...]
    results: tuple[Result, ...]


class _Parser:
    """Reads one file, line by line: a comment, and what stands below it."""

    _TAGS = frozenset({"meta", "class", "field", "alias", "param", "return", "type", "operator"})

    def __init__(self, file: str, name: str) -> None:
        self._file = file
        self._name = name
        self._classes: dict[str, Class] = {}
        self._aliases: dict[str, Alias] = {}
        self._tables: dict[str, str] = {}  # a local's name -> its class
        self._literal = ""  # the class whose table is being read

    def parse(self, lines: Sequence[str]) -> Module:
        text = ""
        comment: _Comment | None = None
        for number, line in enumerate(lines, 1):
            if found := _COMMENT.fullmatch(line):
                comment = comment or _Comment(number)
                comment.lines.append(found[1].rstrip())
                continue
            if comment is not None and comment.line == 1 and not line.strip():
                text = comment.text
            else:
                self._read(number, line, comment or _Comment(number))
            comment = None
        if comment is not None:  # the last thing in the file
            self._read(len(lines), "", comment)
        return Module(self._name, text, self._classes, self._aliases)

    def _read(self, number: int, line: str, comment: _Comment) -> None:
        self._check_tags(comment)
        if self._literal:
            self._in_literal(line, comment)
        elif comment.tag("class") is not None:
            self._class(line, comment)
        elif comment.tag("alias") is not None:
            self._alias(comment)
        elif found := _FUNCTION.match(line):
            self._function(number, found, comment)
        elif (found := _MEMBER.match(line)) and (found[1] in self._tables or comment.lines):
            self._member(number, found[1], found[2], found[3], comment)

    def _check_tags(self, comment: _Comment) -> None:
        for offset, line in enumerate(comment.lines):
            tag = line.partition(" ")[0]
            if tag.startswith("@") and tag[1:] not in self._TAGS:
                raise AnnotationError(f"{self._file}:{comment.line + offset}: unknown tag {tag}")

    def _class(self, line: str, comment: _Comment) -> None:
        name = comment.tag("class") or ""
        fields = [self._field(each, comment) for each in comment.tags("field")]
        self._classes[name] = Class(
            name,
            f"{self._file}:{comment.line}",
            comment.text,
            {each.name: each for each in fields},
        )
        if found := _TABLE.fullmatch(line):
            self._tables[found[1]] = name
            self._literal = name if line.endswith("{") else ""

    def _in_literal(self, line: str, comment: _Comment) -> None:
        owner = self._classes[self._literal]
        found = _CONSTANT.fullmatch(line)
        if found and found[1] not in owner.fields:
            constant = Constant(found[1], found[2], comment.text)
            constants = {**owner.constants, constant.name: constant}
            self._classes[owner.name] = replace(owner, constants=constants)
        if line.startswith("}"):
            self._literal = ""

    def _alias(self, comment: _Comment) -> None:
        name, _, type_ = (comment.tag("alias") or "").partition(" ")
        choices = [line[1:].strip() for line in comment.lines if line.startswith("|")]
        self._aliases[name] = Alias(name, type_.strip() or "|".join(choices), comment.text)

    def _field(self, text: str, comment: _Comment) -> Field:
        name, type_, rest = self._named(text, comment)
        return Field(name.rstrip("?"), type_, rest, name.endswith("?"))

    def _parameter(self, text: str, comment: _Comment) -> Parameter:
        name, type_, rest = self._named(text, comment)
        return Parameter(name.rstrip("?"), type_, rest, name.endswith("?"))

    def _named(self, text: str, comment: _Comment) -> tuple[str, str, str]:
        name, _, rest = text.partition(" ")
        type_, rest = _split_type(rest.strip())
        if not name or not type_:
            raise AnnotationError(f"{self._file}:{comment.line}: no name and type in {text!r}")
        return name, type_, rest

    def _member(
        self, number: int, owner: str | None, name: str, value: str, comment: _Comment
    ) -> None:
        type_ = comment.tag("type")
        if owner is not None and owner not in self._tables:
            return
        if type_ is not None and type_.startswith("fun("):
            self._add(number, owner, name, comment, _signature_of(type_))
            return
        into = self._owner(owner)
        if type_ is not None:
            fields = {**into.fields, name: Field(name, type_, comment.text)}
            self._classes[into.name] = replace(into, fields=fields)
        else:
            constants = {**into.constants, name: Constant(name, value, comment.text)}
            self._classes[into.name] = replace(into, constants=constants)

    def _function(self, number: int, found: re.Match[str], comment: _Comment) -> None:
        owner, mark, name, names = found.groups()
        if (self._name != GLOBALS) if owner is None else (owner not in self._tables):
            return  # of the library's own, as `vm.error`, or a local
        parameters = tuple(self._parameter(each, comment) for each in comment.tags("param"))
        results = tuple(_result(each) for each in comment.tags("return"))
        declared = tuple(each.strip() for each in names.split(",") if each.strip())
        takes_self = declared[:1] == ("self",)
        signature = _Signature(
            mark == ":" or takes_self, declared[1:] if takes_self else declared, parameters, results
        )
        self._add(number, owner, name, comment, signature)

    def _add(
        self, number: int, owner: str | None, name: str, comment: _Comment, signature: _Signature
    ) -> None:
        into = self._owner(owner)
        example, line = comment.example()
        function = Function(
            owner=into.name,
            name=name,
            place=f"{self._file}:{number}",
            text=comment.text,
            is_method=signature.is_method,
            names=signature.names,
            parameters=signature.parameters,
            results=signature.results,
            example=example,
            example_line=line,
        )
        functions = {**into.functions, name: function}
        self._classes[into.name] = replace(into, functions=functions)

    def _owner(self, table: str | None) -> Class:
        name = GLOBALS if table is None else self._tables[table]
        return self._classes.setdefault(name, Class(name, self._file))


# -------------------------------------------------------------------------------------------------
# Types

_OPENING, _CLOSING = "(<{[", ")>}]"


def _split_type(text: str) -> tuple[str, str]:
    """Takes a type off the front of a text: it ends with a space outside of all brackets."""
    depth, quoted = 0, False
    for index, char in enumerate(text):
        if char == '"':
            quoted = not quoted
        elif not quoted and char in _OPENING:
            depth += 1
        elif not quoted and char in _CLOSING:
            depth -= 1
        elif char == " " and not quoted and depth == 0 and not text[:index].endswith(("):", ",")):
            return text[:index], text[index:].strip()
    return text, ""


def _split(text: str) -> list[str]:
    """Splits at the commas outside of all brackets."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in _OPENING) - (char in _CLOSING)
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts if part.strip()]


def _result(text: str) -> Result:
    type_, rest = _split_type(text)
    name, _, said = rest.partition(" ")
    return Result(type_, name, said.strip())


def _signature_of(type_: str) -> _Signature:
    """Takes `fun(self: T, key?: string): any, Error?` apart."""
    inside, results = _split_parentheses(type_)
    parameters = []
    for each in _split(inside):
        name, _, kind = each.partition(":")
        parameters.append(Parameter(name.rstrip("?"), kind.strip(), optional=name.endswith("?")))
    is_method = bool(parameters) and parameters[0].name == "self"
    returned = tuple(Result(each) for each in _split(results.removeprefix(":")))
    return _Signature(is_method, None, tuple(parameters[is_method:]), returned)


def _split_parentheses(type_: str) -> tuple[str, str]:
    """Returns what is in the first parentheses of a type, and what comes after them."""
    start, depth = type_.index("("), 0
    for index in range(start, len(type_)):
        depth += (type_[index] == "(") - (type_[index] == ")")
        if depth == 0:
            return type_[start + 1 : index], type_[index + 1 :]
    raise AnnotationError(f"no end of the parentheses in {type_!r}")
