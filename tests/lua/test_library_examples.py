"""Every example in the annotations of these modules runs as it is printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lua.running import HEADER
from wippy_lua.host import Host
from wippy_lua.lua.stdlib import stdlib_root

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
EXAMPLE = re.compile(r"^--- ```lua\n(.*?)^--- ```$", re.DOTALL | re.MULTILINE)


def examples() -> Iterator[tuple[str, str]]:
    root = Path(str(stdlib_root()))
    for module in MODULES:
        for file in sorted([root / f"{module}.lua", *(root / module).glob("*.lua")]):
            text = file.read_text()
            for match in EXAMPLE.finditer(text):
                place = f"{file.relative_to(root)}:{text.count(chr(10), 0, match.start()) + 2}"
                yield place, re.sub(r"^--- ?", "", match[1], flags=re.MULTILINE)


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
    root = Path(str(stdlib_root()))
    for module in MODULES:
        for file in [root / f"{module}.lua", *(root / module).glob("*.lua")]:
            lines = file.read_text().splitlines()
            for number, line in enumerate(lines):
                if re.match(r"function [A-Z]\w*[.:]\w+\(|M\.\w+ = [a-z_]+\(", line):
                    assert has_example(lines[:number]), f"{file.name}:{number + 1}"


def has_example(lines: list[str]) -> bool:
    """Tells whether the comment that these lines end with has an example."""
    comment = []
    while lines and lines[-1].startswith("---") and not lines[-1].startswith("-----"):
        comment.append(lines.pop())
    return any(line.startswith("--- ```lua") for line in comment)
