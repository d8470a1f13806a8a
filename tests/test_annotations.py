"""The parser of annotations, on a module that has one of everything."""

from __future__ import annotations

import pytest

from tests.annotations import GLOBALS, AnnotationError, Parameter, Result, parse, read_module

TEXT = """\
--- Boxes: what holds things.
---
--- They never leak.

local host, vm = ...

---@class box
---@field small box.Box a box
local M = {
  SIZE = 12,
  --- Means nothing.
  NONE = vm.none,
}

---@alias box.Key string|integer

---@class box.Options
---@field lid? table<string, "on"|"off"> what is on top
---@field name string

--- A thing that is in nobody's way.
---@class box.Box
local Box, boxes = make("box")

function vm.internal(value)
end

--- Opens a box.
---
--- Errors: INVALID.
---
--- Example:
--- ```lua
--- local b = box.open("a", {name = "x"})
---   b:close()
--- ```
---@param key box.Key
---@param options? box.Options which one
---@param ... any
---@return box.Box? box
---@return Error? err INVALID: no key
function M.open(key, options, ...)
end

--- Closes it.
---@return true
function Box:close()
end

--- Names it.
---@param name string
function Box.named(self, name)
end

--- Walks over it.
---@type fun(self: box.Box, at?: string, f: fun(a: string, b: string)): (fun(): string?)?, Error?
Box.walk = method(function() end)

--- Tells a size.
---@type fun(data: string): integer
M.size = of(host.size)

return M
"""


def test_a_module_and_its_classes() -> None:
    module = parse(TEXT, "box.lua", "box")

    assert module.text == "Boxes: what holds things.\n\nThey never leak."
    assert list(module.classes) == ["box", "box.Options", "box.Box"]
    assert module.main.name == "box"
    assert module.aliases["box.Key"].type == "string|integer"
    assert module.main.fields["small"].text == "a box"
    assert {c.name: (c.value, c.text) for c in module.main.constants.values()} == {
        "SIZE": ("12", ""),
        "NONE": ("vm.none", "Means nothing."),
    }
    options = module.classes["box.Options"]
    assert options.fields["lid"].type == 'table<string, "on"|"off">'
    assert options.fields["lid"].optional
    assert not options.fields["name"].optional
    assert module.classes["box.Box"].text == "A thing that is in nobody's way."
    names = [f"{f.owner}.{f.name}" for f in module.functions()]
    assert names == ["box.open", "box.size", "box.Box.close", "box.Box.named", "box.Box.walk"]


def test_a_function() -> None:
    opened = parse(TEXT, "box.lua", "box").main.functions["open"]

    assert opened.text == "Opens a box.\n\nErrors: INVALID."
    assert opened.example == 'local b = box.open("a", {name = "x"})\n  b:close()\n'
    assert TEXT.splitlines()[opened.example_line - 1].endswith('box.open("a", {name = "x"})')
    assert opened.place == "box.lua:42"
    assert opened.names == ("key", "options", "...")
    assert opened.parameters == (
        Parameter("key", "box.Key"),
        Parameter("options", "box.Options", "which one", optional=True),
        Parameter("...", "any"),
    )
    assert opened.results == (
        Result("box.Box?", "box"),
        Result("Error?", "err", "INVALID: no key"),
    )
    assert not opened.is_method


def test_methods() -> None:
    box = parse(TEXT, "box.lua", "box").classes["box.Box"]

    assert all(function.is_method for function in box.functions.values())
    assert box.functions["named"].names == ("name",)
    walk = box.functions["walk"]
    assert walk.names is None
    assert walk.parameters == (
        Parameter("at", "string", optional=True),
        Parameter("f", "fun(a: string, b: string)"),
    )
    assert walk.results == (Result("(fun(): string?)?"), Result("Error?"))


def test_a_tag_that_nobody_knows() -> None:
    with pytest.raises(AnnotationError, match=r"box\.lua:2: unknown tag @retrun"):
        parse("--- Opens.\n---@retrun string\nfunction open()\nend\n", "box.lua", "box")


def test_a_parameter_without_a_type() -> None:
    with pytest.raises(AnnotationError, match=r"box\.lua:1: no name and type in 'key'"):
        parse("---@param key\nfunction open(key)\nend\n", "box.lua", GLOBALS)


def test_a_module_of_several_files() -> None:
    time = read_module("time")

    assert {"time", "time.Time", "time.Duration", "time.Location"} <= time.classes.keys()
    assert time.main.constants["SECOND"].value == "1000000000"
    assert time.classes["time.Time"].functions["add"].place.startswith("time/point.lua:")
