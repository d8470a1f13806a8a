"""What the assertions of the Lua module `test` let pass, and what they say of the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.lua.running import HEADER
from wippy_lua.errors import CallError, Kind
from wippy_lua.host import Host

PASS = [
    "test.equal(1, 1.0)",
    "test.equal({a = {1, {2}}, b = {}}, {a = {1, {2}}, b = {}})",
    "test.equal(json.decode('{}'), {})",
    "local t = {} t.t = t local u = {} u.t = u test.equal(t, u)",
    "local t = setmetatable({1}, {__index = {}}) test.equal(t, t)",
    "local m = {__eq = function() return true end}"
    " test.equal(setmetatable({1}, m), setmetatable({2}, m))",
    "test.equal(nil, nil)",
    "test.not_equal(1, '1')",
    "test.not_equal({1}, {1, 2})",
    "test.not_equal(test, json)",
    "assert(select('#', test.ok(1, nil, 3)) == 3 and test.ok(7) == 7)",
    "test.is_nil(nil)",
    "test.contains('a.b', '.')",
    "test.contains({x = {1}}, {1})",
    "assert(test.error_kind(errors.new({message = 'no', kind = errors.INVALID}), 'Invalid'))",
    "assert(test.throws(function() error('no paper') end) == 'main.lua:2: no paper')",
    "test.throws(function() error({code = 7}) end)",
    "local no = errors.new({message = 'no', kind = errors.CONFLICT})"
    " assert(test.throws(function() error(no) end, errors.CONFLICT) == no)",
    "local n = 0 assert(test.eventually(function() n = n + 1 return n > 3 and n end, 1) == 4)",
    "local n = 0 test.eventually(function() n = n + 1 if n < 3 then error('x') end return 1 end)",
    "local ran test.case('x', function() ran = true end) assert(ran)",
]

#: An assertion, and what it says after its place.
FAIL = [
    ("test.equal(1, 2)", "expected 2 (integer), got 1 (integer)"),
    ("test.equal(1, '1', 'the id')", 'the id: expected "1" (string), got 1 (integer)'),
    ("test.equal(nil, 1.5)", "expected 1.5 (float), got nil"),
    ("test.equal(true, nil)", "expected nil, got true (boolean)"),
    ("test.equal({1, 2}, {1, 3})", "at [2]: expected 3 (integer), got 2 (integer)"),
    ("test.equal({1, 2}, {1})", "at [2]: expected nil, got 2 (integer)"),
    ("test.equal({}, {a = {1}})", "at .a: expected {1} (table), got nil"),
    (
        "test.equal({['a b'] = {x = 1}}, {['a b'] = {x = 2}})",
        'at ["a b"].x: expected 2 (integer), got 1 (integer)',
    ),
    ("test.equal('a\\n\"\\0', 'b')", 'expected "b" (string), got "a\\n\\"\\0" (string)'),
    ("test.equal(('x'):rep(300), '')", f'expected "" (string), got "{"x" * 200}"... (string)'),
    (
        "test.equal({{{{{1}}}}, b = 2, [3.5] = 1}, 1)",
        "expected 1 (integer), got {{{{{...}}}}, [3.5] = 1, b = 2} (table)",
    ),
    (
        "local t = {} for i = 1, 20 do t[i] = i end test.equal(t, 1)",
        "expected 1 (integer), got {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, ...} (table)",
    ),
    (
        "test.equal(errors.new({message = 'no', kind = errors.INVALID}), nil)",
        "expected nil, got no (Invalid error)",
    ),
    ("test.not_equal({1}, {1})", "expected anything but {1} (table)"),
    ("test.ok(nil, errors.new('no'))", "expected a true value, got nil: no"),
    ("test.ok(false)", "expected a true value, got false (boolean)"),
    ("test.is_nil(0, 'err')", "err: expected nil, got 0 (integer)"),
    ("test.contains('abc', 'd')", 'expected "d" (string) in "abc" (string)'),
    ("test.contains('abc', 1)", 'expected 1 (integer) in "abc" (string)'),
    ("test.contains({1}, 2)", "expected 2 (integer) in {1} (table)"),
    ("test.contains(7, 2)", "expected a string or a table, got 7 (integer)"),
    ("test.error_kind('no', 'Invalid')", 'expected an error of kind "Invalid", got "no" (string)'),
    ("test.throws(function() end)", "expected an error, and the function raised none"),
    (
        "test.throws(function() error('a', 0) end, 'b')",
        'expected an error with "b", got "a" (string)',
    ),
    (
        "test.eventually(function() end, '5ms')",
        "it did not happen within 5ms: the last value was nil",
    ),
    (
        "test.eventually(function() error('no', 0) end, 0.005, 'paper')",
        "paper: it did not happen within 0.005: the last error was no",
    ),
    ("test.case('x', function() test.equal(1, 2) end)", "expected 2 (integer), got 1 (integer)"),
    (
        "local function helper(n) test.equal(1, n) end helper(2)",
        "expected 2 (integer), got 1 (integer)",
    ),
]


def run(folder: Path, snippet: str) -> object:
    """Runs a snippet in line 2 of a program; returns what it raised, None for nothing."""
    (folder / "main.lua").write_text(
        'local test, json = require("test"), require("json")\n'
        f"local ok, err = pcall(function() {snippet} end)\n"
        "return not ok and tostring(err) or nil"
    )
    return Host(folder, env={}).run_main()


@pytest.mark.parametrize("snippet", PASS)
def test_what_holds_passes(tmp_path: Path, snippet: str) -> None:
    assert run(tmp_path, snippet) is None


@pytest.mark.parametrize(("snippet", "problem"), FAIL)
def test_what_does_not_hold_is_told_with_its_place(
    tmp_path: Path, snippet: str, problem: str
) -> None:
    assert run(tmp_path, snippet) == f"main.lua:2: {problem}"


@pytest.mark.parametrize(
    ("snippet", "problem"),
    [
        ("test.case('', print)", "test.case: name must be a non-empty string"),
        ("test.case('x')", "test.case: the second argument must be a function"),
        ("test.eventually(print, 'soon')", "timeout must be a duration such as"),
        ("test.eventually(print, {})", "the host takes no table"),
        ("test.equal = 1", "test is read-only"),
    ],
)
def test_misuse(tmp_path: Path, snippet: str, problem: str) -> None:
    assert problem in str(run(tmp_path, snippet))


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "catcher",
    [
        "test.throws(function() while true do end end)",
        "test.eventually(function() while true do end end, '1h')",
        "test.case('x', function() while true do end end)",
    ],
)
def test_nothing_catches_the_end_of_a_call(tmp_path: Path, catcher: str) -> None:
    source = f"return function() local test = require('test') {catcher} while true do end end"
    (tmp_path / "_index.yaml").write_text(
        f"{HEADER}- {{name: f, kind: function.lua, source: {json.dumps(source)}, modules: [test]}}"
    )
    with Host(tmp_path, env={}) as host, pytest.raises(CallError) as caught:
        host.call("app:f", timeout=0.1)
    assert caught.value.kind is Kind.TIMEOUT
