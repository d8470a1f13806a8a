"""The annotations of the standard modules against what a real VM has: no more and no less."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from lupa import lua54

from tests.annotations import Function, module_names, read_globals, read_module
from tests.lua.whole_app import MODULES, handle_message, handler, load_app, running
from wippy_lua.call import Call
from wippy_lua.log import NullLog
from wippy_lua.lua.runtime import VM, Natives
from wippy_lua.lua.stdlib import stdlib_root
from wippy_lua.queue.settle import Success

#: How to get at one object of each class that has methods.
OBJECTS = {
    "Error": "errors.new('no')",
    "funcs.Caller": "funcs.new()",
    "funcs.Future": "funcs.async('app:double', 1)",
    "fs.Directory": "fs.get('app:templates')",
    "queue.Message": "queue.message()",
    "security.Actor": "security.actor()",
    "security.Policy": "security.policy('app:publish_orders')",
    "security.Scope": "security.scope()",
    "store.Store": "store.get('app:seen')",
    "time.Channel": "time.after('1s')",
    "time.Duration": "time.parse_duration('1s')",
    "time.Location": "time.utc",
    "time.Ticker": "time.ticker('1s')",
    "time.Time": "time.now()",
    "time.Timer": "time.timer('1s')",
}

#: Finds what the handler has collected, behind every metatable, and lists it: one line for each
#: member of each object, with what the debug library knows of a function's parameters.
INSPECT = b"""
local debug, handle = ...

-- The VM's own code has no names: the handler is whoever has what it collected.
local function collected_by(fn)
  for i = 1, 255 do
    local name, value = debug.getupvalue(fn, i)
    if name == "collected" then
      return value
    end
  end
end

local function collected()
  for i = 1, 255 do
    local _, value = debug.getupvalue(handle, i)
    local found = type(value) == "function" and collected_by(value)
    if found then
      return found
    end
  end
  error("the handler has collected nothing")
end

local lines = {}
for name, object in pairs(collected()) do
  local metatable = debug.getmetatable(object)
  for key, value in pairs(metatable and metatable.__index or object) do
    local info = type(value) == "function" and debug.getinfo(value, "u")
    local facts = info and {info.nparams, info.isvararg} or {-1, false}
    lines[#lines + 1] = ("%s %s %d %s"):format(name, key, facts[1], facts[2])
  end
end
return table.concat(lines, "\\n")
"""


@dataclass(frozen=True)
class Member:
    """A member of a table in a VM; `parameters` has `self` in it, and is -1 for no function."""

    parameters: int
    takes_more: bool

    @property
    def is_function(self) -> bool:
        return self.parameters >= 0


class OpenVM(VM):
    """A VM that keeps the debug library, out of the reach of its scripts."""

    def _assemble(self, natives: Natives) -> None:
        self._debug = self._lua.globals()[b"debug"]
        super()._assemble(natives)

    def inspect(self) -> dict[str, dict[str, Member]]:
        """Returns the members of what the handler has collected, by name."""
        text: bytes = self._lua.execute(INSPECT, self._debug, self._handle, mode=b"t")
        found: dict[str, dict[str, Member]] = {}
        for line in text.decode().splitlines():
            owner, name, parameters, takes_more = line.split(" ")
            found.setdefault(owner, {})[name] = Member(int(parameters), takes_more == "true")
        return found


CLASSES = {
    each.name: each for module in module_names() for each in read_module(module).classes.values()
}
MAINS = {read_module(module).main.name: module for module in module_names()}
FUNCTIONS = [function for each in CLASSES.values() for function in each.functions.values()]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Mapping[str, Member]]:
    """What a VM has in each module and in each object, by class."""
    app = load_app(Path(tmp_path_factory.mktemp("app")))
    collect = {**MAINS, **OBJECTS, "_G": "_G"}
    lines = "\n".join(f'collected["{name}"] = {code}' for name, code in collect.items())
    source = f"{MODULES}local collected = {{}}\nreturn function()\n{lines}\nend"
    with running(app):
        program = handler(source)
        vm = OpenVM(program, app.functions._natives, NullLog())
        vm.load(Call(program.id, loading=True))
        assert handle_message(app, vm, with_actor=True) == Success()
        return vm.inspect()


def test_every_class_with_methods_is_looked_at() -> None:
    assert {name for name, each in CLASSES.items() if each.functions} == {*MAINS, *OBJECTS}


@pytest.mark.parametrize("name", [*MAINS, *OBJECTS])
def test_a_class_has_what_is_said_of_it_and_no_more(
    exported: Mapping[str, Mapping[str, Member]], name: str
) -> None:
    members, said = exported[name], CLASSES[name]

    functions = {member for member, facts in members.items() if facts.is_function}
    assert functions == said.functions.keys()
    values = members.keys() - functions
    assert values == said.constants.keys() | said.fields.keys()


def test_every_function_takes_what_is_said_of_it(
    exported: Mapping[str, Mapping[str, Member]],
) -> None:
    wrong = [each.place for each in FUNCTIONS if not _takes(exported[each.owner][each.name], each)]
    assert wrong == []


def _takes(member: Member, function: Function) -> bool:
    said = [each.name for each in function.parameters]
    count = len([each for each in said if each != "..."]) + function.is_method
    if function.names is None:  # made by another function, which may take more than it needs
        return member.takes_more or member.parameters >= count
    return (list(function.names), member.parameters, member.takes_more) == (
        said,
        count,
        "..." in said,
    )


def test_every_function_says_what_it_does() -> None:
    sentence = re.compile(r"[A-Z][^.]*[.:]")
    assert [each.place for each in FUNCTIONS if not sentence.match(each.text)] == []


def test_every_function_says_what_it_returns() -> None:
    assert [each.place for each in FUNCTIONS if not each.results and _returns(each)] == []


def _returns(function: Function) -> bool:
    """Tells whether the code of a function has a `return` with a value."""
    file, _, line = function.place.rpartition(":")
    body = (stdlib_root() / file).read_text().splitlines()[int(line) :]
    if function.names is None:  # one line, or a call that ends with a parenthesis
        return False
    return any(re.match(r" +return [^n]| +return nil,", each) for each in body[: body.index("end")])


def test_the_globals_beyond_luas_own(exported: Mapping[str, Mapping[str, Member]]) -> None:
    standard = {name.decode() for name in lua54.LuaRuntime(encoding=None).globals()} - {"python"}
    said = read_globals()
    declared = {*said.functions, *said.fields}

    assert exported["_G"].keys() - standard == {"errors"}
    assert declared == {"errors", "print", "require"}
    assert declared <= exported["_G"].keys()
