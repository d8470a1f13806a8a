"""A host with one queue, its dead letters and one consumer, and its admin server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.admin.site import Site
from tests.host.apps import Gate, make_host
from wippy_lua import Host

ENTRIES = """\
- {name: memory, kind: queue.driver.memory}
- {name: dead, kind: queue.queue, driver: memory}
- {name: tasks, kind: queue.queue, driver: memory, dead_letter: {queue: dead, max_attempts: 2}}
- name: worker
  kind: queue.consumer
  queue: tasks
  func: handler
  concurrency: 2
  retry: {initial_delay: 1ms}
  lifecycle: {auto_start: true, stop_timeout: 500ms}
- {name: handler, kind: function.lua, source: file://handler.lua, modules: [gate, queue, time]}
"""

HANDLER = """\
local gate, queue, time = require("gate"), require("queue"), require("time")
return function(body)
  gate.note(body.n)
  if body.wait then gate.wait() end
  if body.sleep then time.sleep(body.sleep) end
  if body.act == "fail" then error("as asked") end
  if body.act == "reject" then queue.message():reject("no") end
  if body.act == "nack" then queue.message():nack({delay = "1h"}) end
  if body.act == "snooze" then queue.message():snooze("1h") end
  if body.act == "ack, then fail" then queue.message():ack() error("too late") end
end
"""


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def host(tmp_path: Path, gate: Gate) -> Host:
    """Not started."""
    return make_host(tmp_path, ENTRIES, {"gate": gate.functions()}, handler=HANDLER)


@pytest.fixture
def site(host: Host) -> Iterator[Site]:
    """The host runs, and its admin server as well."""
    with Site(host) as site, host:
        yield site
