"""The four steps in which a consumer stops, and what a host leaves behind."""

from __future__ import annotations

from pathlib import Path

import gevent
import pytest

from tests.host.apps import Gate, make_host, wait_for
from wippy_lua import Host
from wippy_lua.errors import StopTimeout

APP = """\
- {{name: memory, kind: queue.driver.memory}}
- {{name: tasks, kind: queue.queue, driver: memory}}
- name: consumer
  kind: queue.consumer
  queue: tasks
  func: handler
  concurrency: 2
  prefetch: 5
  lifecycle: {{auto_start: true, stop_timeout: {stop_timeout}}}
- {{name: handler, kind: function.lua, source: file://handler.lua, modules: [gate, queue]}}
"""

WAITS = """
local gate, queue = require("gate"), require("queue")
return function(body)
  local msg = queue.message()
  gate.wait()
  gate.note({n = body.n, cancelled = msg:cancelled(), attempt = msg:attempt()})
  if body.fails then error("failed while stopping") end
end
"""

SPINS = """
local gate = require("gate")
return function() gate.note(1) while true do end end
"""


def attempts(host: Host) -> list[int]:
    """Returns the attempts that the next deliveries of the queue would have."""
    taken = host._app.manager.driver("app:tasks").take("app:tasks", 100)
    return sorted(delivery.attempt for delivery in taken)


def test_running_handlers_finish_and_the_rest_goes_back_uncharged(tmp_path: Path) -> None:
    gate = Gate()
    host = make_host(
        tmp_path, APP.format(stop_timeout="5s"), {"gate": gate.functions()}, handler=WAITS
    )
    host.start()
    for n in range(10):
        host.publish("app:tasks", {"n": n, "fails": n == 1})
    wait_for(lambda: gate.waiting == 2)
    stopping = gevent.spawn(host.stop_service, "app:consumer")
    # Step 1: what was buffered is back at once, while the handlers still run.
    wait_for(lambda: host.info("app:tasks").ready == 8)
    assert host.info("app:tasks").in_flight == 2
    gate.let_go(2)
    stopping.get(timeout=5)
    # Steps 2 and 3: both saw it and ended; the one that failed spent no attempt.
    assert sorted(note["n"] for note in gate.seen) == [0, 1]
    assert all(note["cancelled"] for note in gate.seen)
    info = host.info("app:tasks")
    assert (info.ready, info.in_flight, info.delayed) == (9, 0, 0)
    assert attempts(host) == [1] * 9
    host.stop()


def test_a_handler_that_never_ends_is_interrupted_and_named(tmp_path: Path) -> None:
    gate = Gate()
    host = make_host(
        tmp_path, APP.format(stop_timeout="100ms"), {"gate": gate.functions()}, handler=SPINS
    )
    host.start()
    host.publish("app:tasks", {"n": 1}, message_id="the-one")
    wait_for(lambda: gate.seen)
    with pytest.raises(ExceptionGroup) as caught:
        host.stop_service("app:consumer")
    [error] = caught.value.exceptions
    assert isinstance(error, StopTimeout)
    assert "app:handler (message the-one)" in error.message
    info = host.info("app:tasks")
    assert (info.ready, info.in_flight) == (1, 0)
    assert attempts(host) == [1]
    host.stop()


def test_a_host_starts_again_after_a_stop_and_goes_on_with_what_was_left(tmp_path: Path) -> None:
    gate = Gate()
    host = make_host(
        tmp_path, APP.format(stop_timeout="5s"), {"gate": gate.functions()}, handler=WAITS
    )
    host.start()
    host.publish("app:tasks", {"n": 1})
    wait_for(lambda: gate.waiting == 1)
    gevent.spawn_later(0.01, gate.let_go, 1)
    host.stop()
    host.stop()
    host.start()
    host.publish("app:tasks", {"n": 2})
    gate.let_go(1)
    wait_for(lambda: len(gate.seen) == 2)
    host.stop()
    assert [note["n"] for note in gate.seen] == [1, 2]


def test_a_process_ends_at_its_next_wait(tmp_path: Path) -> None:
    gate = Gate()
    entries = """\
- {name: program, kind: process.lua, source: file://program.lua, modules: [gate]}
- {name: service, kind: process.service, process: program, lifecycle: {auto_start: true}}
"""
    program = """
    local gate = require("gate")
    local function main() while true do gate.note(1) gate.wait() end end
    return {main = main}
    """
    host = make_host(tmp_path, entries, {"gate": gate.functions()}, program=program)
    host.start()
    wait_for(lambda: gate.waiting == 1)
    gate.let_go(1)
    wait_for(lambda: len(gate.seen) == 2 and gate.waiting == 1)
    host.stop()
    assert gate.waiting == 0


def test_a_failed_process_is_restarted(tmp_path: Path) -> None:
    gate = Gate()
    entries = """\
- {name: program, kind: process.lua, source: file://program.lua, modules: [gate]}
- name: service
  kind: process.service
  process: program
  lifecycle: {auto_start: true, restart: {initial_delay: 1ms}}
"""
    program = 'local gate = require("gate") return function() gate.note(1) error("crash") end'
    with make_host(tmp_path, entries, {"gate": gate.functions()}, program=program) as host:
        wait_for(lambda: len(gate.seen) >= 3)
        assert host.services()["app:service"].restarts >= 2
