"""Every function of the Lua library has an example, and every example runs as it is printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.annotations import Function, module_names, read_globals, read_module
from tests.host.apps import wait_for
from tests.lua.running import HEADER
from wippy_lua.host import Host

#: What the examples speak of.
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
- {name: seen, kind: store.memory}
- {name: templates, kind: fs.directory, directory: templates}
- name: publish_orders
  kind: security.policy
  policy: {actions: "*", resources: "*", effect: allow}
  groups: [admins]
- {name: memory, kind: queue.driver.memory}
- {name: examples, kind: queue.queue, driver: memory}
- name: consumer
  kind: queue.consumer
  queue: examples
  func: example
  lifecycle:
    auto_start: true
    security: {actor: {id: "user:7", meta: {team: red}}, policies: [publish_orders]}
"""
TASKS = """\
version: "1.0"
namespace: app.queue
entries:
- {name: tasks, kind: queue.queue, driver: app:memory}
"""
EXAMPLE = """\
local {names} = {requires}
local report = require("report")

local function send_mail(_mail) end

local function run()
{example}
end

local function handle()
  local ok, err = pcall(run)
  report.done(ok, tostring(err))
end

return {{handle = handle, send_mail = send_mail}}
"""


def functions() -> Iterator[Function]:
    for module in module_names():
        yield from read_module(module).functions()
    yield from read_globals().functions.values()


class Report:
    """How an example ended."""

    def __init__(self) -> None:
        self.outcome: tuple[bool, str] | None = None

    def done(self, ok: bool, error: str) -> None:
        if self.outcome is None:  # one that is given back may come again
            self.outcome = ok, error


def write_app(folder: Path, example: str) -> None:
    modules = module_names()
    entry = (
        "- {name: example, kind: function.lua, source: file://example.lua, method: handle,"
        f" modules: [report, {', '.join(modules)}]}}\n"
    )
    (folder / "_index.yaml").write_text(HEADER + ENTRIES + entry)
    (folder / "queue").mkdir()
    (folder / "queue" / "_index.yaml").write_text(TASKS)
    (folder / "templates" / "mails").mkdir(parents=True)
    (folder / "templates" / "mails" / "welcome.txt").write_text("Hello!")
    requires = ", ".join(f'require("{module}")' for module in modules)
    (folder / "example.lua").write_text(
        EXAMPLE.format(names=", ".join(modules), requires=requires, example=example)
    )


@pytest.mark.slow  # once is enough
@pytest.mark.parametrize(
    "example", [pytest.param(each.example, id=each.place) for each in functions() if each.example]
)
def test_an_example_runs(tmp_path: Path, example: str) -> None:
    write_app(tmp_path, example)
    report = Report()
    modules = {"report": {"done": report.done}}
    with Host(tmp_path, modules=modules, env={"HOME": "/home/me"}) as host:
        host.publish("app:examples", {"order": 7}, {"tenant": "acme"})
        wait_for(lambda: report.outcome)
    assert report.outcome == (True, "nil")


def test_every_function_says_what_it_does_takes_and_returns_and_has_an_example() -> None:
    lacking = [
        each.place
        for each in functions()
        if not (each.text and each.example)
        or (each.names is not None and each.names != tuple(p.name for p in each.parameters))
    ]
    assert lacking == []
