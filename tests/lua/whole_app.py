"""An app with one of everything that the standard modules give access to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from time import monotonic

from tests.annotations import module_names
from tests.lua.running import HEADER
from tests.lua.vms import TEXT, delivery
from wippy_lua.assembly import App
from wippy_lua.call import Call
from wippy_lua.clock import SystemClock
from wippy_lua.log import NullLog
from wippy_lua.lua.program import Program
from wippy_lua.lua.runtime import VM
from wippy_lua.queue.settle import Outcome
from wippy_lua.registry.entry import Source
from wippy_lua.security.policy import Actor

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
"""
QUEUES = """\
version: "1.0"
namespace: app.queue
entries:
- {name: memory, kind: queue.driver.memory}
- {name: tasks, kind: queue.queue, driver: memory}
"""

#: Every module as a local of its name.
MODULES = "".join(f"local {name} = require({name!r})\n" for name in module_names())


def load_app(folder: Path) -> App:
    """Returns the app, not started."""
    (folder / "queue").mkdir()
    (folder / "templates" / "mails").mkdir(parents=True)
    (folder / "templates" / "mails" / "welcome.txt").write_text("Welcome!")
    (folder / "_index.yaml").write_text(HEADER + ENTRIES)
    (folder / "queue" / "_index.yaml").write_text(QUEUES)
    return App.load(
        folder,
        python_modules={},
        env={"HOME": "/home/me"},
        overrides=(),
        make_log=lambda _level: NullLog(),
        log_level=None,
        clock=SystemClock(),
    )


@contextmanager
def running(app: App) -> Iterator[None]:
    """Starts an app, its stores empty, and stops it."""
    app.start()
    try:
        yield
    finally:
        app.stop()


def handler(source: str, *, id_: str = "app:handler") -> Program:
    """Returns the program of a handler that may require everything."""
    return Program(id_, Source("handler.lua", source.encode()), modules=None)


def handle_message(app: App, vm: VM, *, with_actor: bool = False, seconds: float = inf) -> Outcome:
    """Calls a handler with a message that takes every settlement; perhaps as somebody."""
    actor = Actor("user:1", {"team": "blue"})
    call = Call(
        vm.program.id,
        monotonic() + seconds,
        delivery(tenant="acme"),
        "app:consumer",
        "app.queue:tasks",
        lambda _call, _outcome: True,
        security=app.policies.context(actor, app.policies.scope(["admins"]))
        if with_actor
        else None,
    )
    return vm.handle(call, TEXT, b"body")
