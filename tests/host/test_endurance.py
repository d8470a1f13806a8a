"""Handlers that misbehave: the message pays, nobody else does."""

from __future__ import annotations

import time
from pathlib import Path

import gevent
import pytest

from tests.host.apps import Gate, make_host, wait_for
from wippy_lua import CallError
from wippy_lua.errors import Kind

DEAD_END = """\
- {name: memory, kind: queue.driver.memory}
- {name: bad, kind: queue.queue, driver: memory, dead_letter: {queue: dead, max_attempts: 1}}
- {name: dead, kind: queue.queue, driver: memory}
"""


def percentile(values: list[float], share: float) -> float:
    """Returns the value that this share of all values does not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def test_endless_handlers_delay_their_neighbours_by_milliseconds(tmp_path: Path) -> None:
    entries = (
        DEAD_END
        + """\
- {name: short, kind: queue.queue, driver: memory}
- name: spinner
  kind: queue.consumer
  queue: bad
  func: spin
  concurrency: 3
  timeout: 9s
  lifecycle: {auto_start: true}
- {name: worker, kind: queue.consumer, queue: short, func: note, lifecycle: {auto_start: true}}
- {name: spin, kind: function.lua, source: "return function() while true do end end"}
- {name: note, kind: function.lua, source: file://note.lua, modules: [clock]}
"""
    )
    delays: list[float] = []

    def started(published: float) -> None:
        delays.append(time.monotonic() - published)

    note = 'local clock = require("clock") return function(b) clock.started(b.at) end'
    with make_host(tmp_path, entries, {"clock": {"started": started}}, note=note) as host:
        for n in range(3):
            host.publish("app:bad", {"n": n})
        begin = time.monotonic()
        for n in range(1000):
            gevent.sleep(max(0.0, begin + n * 0.01 - time.monotonic()))
            host.publish("app:short", {"at": time.monotonic()})
        wait_for(lambda: len(delays) == 1000)
        # The three ended at their timeout, as failed attempts.
        wait_for(lambda: host.info("app:dead").ready == 3)
        errors = {
            message.headers["x_error_kind"]
            for message in host._app.manager.driver("app:dead").peek("app:dead", 3)
        }
    assert errors == {"Timeout"}
    assert percentile(delays, 0.99) < 0.05


def test_a_backlog_of_short_messages_lets_others_run(tmp_path: Path) -> None:
    entries = (
        DEAD_END
        + """\
- {name: short, kind: queue.queue, driver: memory, options: {max_length: 20000}}
- {name: worker, kind: queue.consumer, queue: short, func: note, concurrency: 4, prefetch: 100}
- {name: note, kind: function.lua, source: "return function(body) return body end"}
"""
    )
    with make_host(tmp_path, entries) as host:
        for n in range(20_000):
            host.publish("app:short", {"n": n})
        host.start_service("app:worker")
        gaps = [0.0]
        while host.info("app:short").message_count:
            before = time.monotonic()
            gevent.sleep(0.001)
            gaps.append(time.monotonic() - before)
    assert len(gaps) > 10  # a drain takes some 400 ms
    assert percentile(gaps, 0.9) < 0.05


def test_a_handler_that_eats_memory_fails_a_hundred_times_and_the_host_stays_up(
    tmp_path: Path,
) -> None:
    entries = (
        DEAD_END
        + """\
- name: eater
  kind: queue.consumer
  queue: bad
  func: eat
  concurrency: 4
  lifecycle: {auto_start: true}
- name: eat
  kind: function.lua
  limits: {memory: 4MiB}
  source: |
    return function() local t = {} while true do t[#t + 1] = {} end end
- {name: fine, kind: function.lua, source: "return function(a, b) return a + b end"}
"""
    )
    with make_host(tmp_path, entries) as host:
        for n in range(100):
            host.publish("app:bad", {"n": n})
        wait_for(lambda: host.info("app:dead").ready == 100, timeout=60)
        reasons = {
            message.headers["x_error"]
            for message in host._app.manager.driver("app:dead").peek("app:dead", 100)
        }
        assert reasons == {"app:eat reached its memory limit of 4 MiB"}
        assert host.call("app:fine", 1, 2) == 3


def test_calls_from_python_get_the_lua_error_with_its_facts(tmp_path: Path) -> None:
    entries = """\
- {name: f, kind: function.lua, source: file://f.lua, method: fail, limits: {timeout: 50ms}}
- {name: slow, kind: function.lua, source: file://f.lua, method: spin, limits: {timeout: 50ms}}
"""
    f = """
    local M = {}
    function M.fail(what)
      local facts = {message = what, kind = errors.CONFLICT, retryable = true, details = {n = 1}}
      return nil, errors.new(facts)
    end
    function M.spin() while true do end end
    return M
    """
    with make_host(tmp_path, entries, f=f) as host:
        with pytest.raises(CallError) as caught:
            host.call("app:f", "clash")
        error = caught.value
        assert (error.message, error.kind, error.retryable) == ("clash", Kind.CONFLICT, True)
        assert error.details == {"n": 1}
        assert "f.lua:5" in error.stack
        with pytest.raises(CallError) as timeout:
            host.call("app:slow")
        assert timeout.value.kind is Kind.TIMEOUT
        with pytest.raises(CallError) as missing:
            host.call("app:nothing")
        assert missing.value.kind is Kind.NOT_FOUND


def test_a_handler_that_waits_in_the_host_ends_at_its_timeout(tmp_path: Path) -> None:
    entries = (
        DEAD_END
        + """\
- {name: c, kind: queue.consumer, queue: bad, func: f, timeout: 50ms, lifecycle: {auto_start: true}}
- name: f
  kind: function.lua
  modules: [gate]
  source: |
    local gate = require("gate")
    return function() gate.wait() end
"""
    )
    gate = Gate()
    with make_host(tmp_path, entries, {"gate": gate.functions()}) as host:
        host.publish("app:bad", {"n": 1})
        wait_for(lambda: gate.waiting == 1)
        wait_for(lambda: host.info("app:dead").ready == 1)
        assert gate.waiting == 0
