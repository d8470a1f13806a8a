"""JSON Schema by the Lua module `json`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lua.running import host_of
from wippy_lua.errors import Kind
from wippy_lua.lua.modules import json as json_module

SCHEMA = """{
  type = "object",
  required = {"id"},
  properties = {id = {type = "integer"}, tags = {type = "array", items = {type = "string"}}},
}"""


def evaluate(folder: Path, expression: str) -> Any:
    main = f"""
local json = require("json")
local function verdict(ok, err)
  if ok then return ok end
  return {{ok = tostring(ok), kind = err:kind(), message = err:message(), details = err:details()}}
end
return {{main = function() return {expression} end}}"""
    return host_of(folder, main=main).run_main()


def wrong(path: str, schema_path: str, message: str) -> dict[str, str]:
    return {"path": path, "schema_path": schema_path, "message": message}


@pytest.mark.parametrize("data", ["{id = 1}", '{id = 1, tags = {"a", "b"}, more = {}}'])
def test_data_that_meets_its_schema_is_valid(tmp_path: Path, data: str) -> None:
    assert evaluate(tmp_path, f"{{json.validate({SCHEMA}, {data})}}") == [True]


def test_what_is_wrong_is_told_with_its_path(tmp_path: Path) -> None:
    found = evaluate(tmp_path, f'verdict(json.validate({SCHEMA}, {{id = "x", tags = {{"a", 1}}}}))')
    errors = sorted(found.pop("details")["errors"], key=lambda error: error["path"])
    assert errors == [
        wrong("/id", "/properties/id/type", '"x" is not of type "integer"'),
        wrong("/tags/1", "/properties/tags/items/type", '1 is not of type "string"'),
    ]
    assert (found["ok"], found["kind"]) == ("false", Kind.INVALID)
    assert found["message"].startswith("json: /")
    assert found["message"].endswith("(and 1 more)")


def test_the_whole_has_an_empty_path(tmp_path: Path) -> None:
    found = evaluate(tmp_path, f"verdict(json.validate({SCHEMA}, 5))")
    assert found["details"]["errors"] == [wrong("", "/type", '5 is not of type "object"')]


def test_a_path_escapes_what_means_something_in_it(tmp_path: Path) -> None:
    schema = '{additionalProperties = {type = "string"}}'
    found = evaluate(tmp_path, f'verdict(json.validate({schema}, {{["a/b~c"] = 1}}))')
    assert found["details"]["errors"][0]["path"] == "/a~1b~0c"


@pytest.mark.parametrize(
    ("schema", "text", "ok"),
    [
        ('{type = "array"}', "[]", True),
        ('{type = "object"}', "{}", True),
        ('\'{"type": "null"}\'', "null", True),
        ("{}", "5", True),
        ("'{}'", "5", True),
        ("'true'", "5", True),
        ("'false'", "5", False),
        ('{type = "integer"}', "12345678901234567890123", True),
        ('{["$defs"] = {n = {minimum = 3}}, ["$ref"] = "#/$defs/n"}', "2", False),
        ('{prefixItems = {{type = "string"}}}', "[1]", False),
    ],
)
def test_a_text_is_checked(tmp_path: Path, schema: str, text: str, ok: bool) -> None:
    assert evaluate(tmp_path, f"{{(json.validate_string({schema}, '{text}'))}}") == [ok]


def test_null_is_a_value(tmp_path: Path) -> None:
    expression = '{json.validate({type = "null"}, nil), json.validate({type = "null"}, json.null)}'
    assert evaluate(tmp_path, expression) == [True, True]


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        ("validate(nil, 1)", Kind.INVALID),
        ("validate(5, 1)", Kind.INVALID),
        ('validate({type = "number of things"}, 1)', Kind.INVALID),
        ('validate({["$ref"] = "http://127.0.0.1:9/schema"}, 1)', Kind.INVALID),
        ('validate({["$ref"] = "file:///etc/passwd"}, 1)', Kind.INVALID),
        ('validate({pattern = "("}, 1)', Kind.INVALID),
        ('validate(\'{"title": "\' .. ("x"):rep(300000) .. \'"}\', 1)', Kind.INVALID),
        ("validate({}, print)", Kind.INTERNAL),
        ("validate({1, nil, 3, x = 1}, 1)", Kind.INTERNAL),
        ('validate({type = "object"}, {a = "\\xff"})', Kind.INVALID),
        ("validate('', 1)", Kind.INTERNAL),
        ("validate('{', 1)", Kind.INTERNAL),
        ("validate_string({}, '')", Kind.INVALID),
        ("validate_string({}, 5)", Kind.INVALID),
        ("validate_string({}, '{')", Kind.INTERNAL),
        ("validate_string({}, '\"\\xff\"')", Kind.INTERNAL),
        ("validate_string({}, ('['):rep(100000))", Kind.INTERNAL),
    ],
)
def test_what_cannot_be_told_is_an_error(tmp_path: Path, call: str, kind: Kind) -> None:
    found = evaluate(tmp_path, f"verdict(json.{call})")
    assert (found["ok"], found["kind"]) == ("nil", kind)
    assert len(found["message"]) < 400


def test_no_more_errors_are_told_than_anybody_reads(tmp_path: Path) -> None:
    text = '"[" .. ("1,"):rep(999) .. "1]"'
    found = evaluate(
        tmp_path, f'verdict(json.validate_string({{items = {{type = "null"}}}}, {text}))'
    )
    assert len(found["details"]["errors"]) == json_module.MAX_ERRORS


def test_a_schema_is_compiled_once(tmp_path: Path) -> None:
    json_module._validator.cache_clear()
    expression = """(function()
      for i = 1, 100 do json.validate('{"minimum": 1}', i) end
      return true
    end)()"""
    assert evaluate(tmp_path, expression) is True
    assert json_module._validator.cache_info().misses == 1


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    json_module._validator.cache_clear()
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    found = evaluate(tmp_path, "verdict(json.validate({}, 1))")
    assert (found["ok"], found["kind"]) == ("nil", Kind.UNAVAILABLE)
    assert "wippy-lua[schema]" in found["message"]
