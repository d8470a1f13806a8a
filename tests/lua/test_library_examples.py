"""Every example in the annotations of these modules runs as it is printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.annotations import read_module
from tests.lua.running import HEADER
from wippy_lua.host import Host

MODULES = ("base64", "ctx", "env", "funcs", "hash", "json", "registry", "time", "uuid")
ENTRIES = """\
- {name: config, kind: host.config, env: [HOME, LANG]}
- {name: double, kind: function.lua, source: "return function(n) return n * 2 end"}
- name: fail
  kind: function.lua
  source: "return function() return nil, errors.new({message = 'no', kind = errors.CONFLICT}) end"
- name: tenant
  kind: function.lua
  modules: [ctx]
  source: "return function() return require('ctx').get('tenant') end"
"""


def examples() -> Iterator[tuple[str, str]]:
    for module in MODULES:
        for function in read_module(module).functions():
            yield function.place, function.example


@pytest.mark.parametrize("example", [pytest.param(code, id=place) for place, code in examples()])
def test_an_example_runs(tmp_path: Path, example: str) -> None:
    names = ", ".join(MODULES)
    requires = ", ".join(f'require("{module}")' for module in MODULES)
    (tmp_path / "_index.yaml").write_text(HEADER + ENTRIES)
    (tmp_path / "main.lua").write_text(
        f"local {names} = {requires}\nreturn {{main = function()\n{example}\nend}}"
    )
    Host(tmp_path, env={"HOME": "/home/me"}).run_main()


def test_every_function_has_an_example() -> None:
    functions = [each for module in MODULES for each in read_module(module).functions()]

    assert [each.place for each in functions if not each.example] == []
