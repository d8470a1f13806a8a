"""A host belongs to one hub; other native threads hand their calls over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.monkey import get_original

from tests.host.apps import make_host, wait_for
from wippy_lua import CallError, Host

ENTRIES = """\
- {name: memory, kind: queue.driver.memory}
- {name: tasks, kind: queue.queue, driver: memory}
- {name: add, kind: function.lua, source: "return function(a, b) return a + b end"}
"""

start_thread = get_original("_thread", "start_new_thread")


def test_publish_and_call_work_from_other_native_threads(tmp_path: Path) -> None:
    results: list[Any] = []

    def work(host: Host) -> None:
        host.publish("app:tasks", {"n": 1})
        results.append(host.call("app:add", 1, 2))
        try:
            host.call("app:nothing")
        except CallError as error:
            results.append(error.kind)

    with make_host(tmp_path, ENTRIES) as host:
        for _ in range(4):
            start_thread(work, (host,))
        wait_for(lambda: len(results) == 8)
        assert host.info("app:tasks").ready == 4
    assert sorted(map(str, results)) == ["3"] * 4 + ["NotFound"] * 4


def test_calls_of_many_greenlets_run_side_by_side(tmp_path: Path) -> None:
    entries = """\
- name: wait
  kind: function.lua
  modules: [py]
  source: 'local py = require("py") return function(n) py.sleep(0.05) return n end'
"""

    def sleep(seconds: float) -> None:
        gevent.sleep(seconds)

    with make_host(tmp_path, entries, {"py": {"sleep": sleep}}) as host:
        calls = [gevent.spawn(host.call, "app:wait", n) for n in range(100)]
        gevent.joinall(calls, timeout=5)
        assert [call.value for call in calls] == list(range(100))


def test_a_python_module_s_error_reaches_lua_and_arguments_keep_their_types(tmp_path: Path) -> None:
    entries = """\
- name: f
  kind: function.lua
  modules: [py]
  source: |
    local py = require("py")
    return function(...)
      local echoed = py.echo(...)
      local _, err = py.fail()
      return {echoed, tostring(err), err:kind()}
    end
"""

    def echo(*values: object) -> object:
        return values

    def fail() -> None:
        raise ValueError("no good")

    with make_host(tmp_path, entries, {"py": {"echo": echo, "fail": fail}}) as host:
        result = host.call("app:f", 1, 1.5, "x", b"\xff", True, [1, 2], {"k": None})
        assert result[0] == [1, 1.5, "x", b"\xff", True, [1, 2], {}]
        assert result[1:] == ["py.fail: ValueError: no good", "Internal"]


def test_a_killed_greenlet_leaves_the_call_and_the_host_goes_on(tmp_path: Path) -> None:
    entries = (
        '- {name: spin, kind: function.lua, source: "return function() while true do end end"}\n'
    )
    with make_host(tmp_path, ENTRIES + entries) as host:
        greenlet = gevent.spawn(host.call, "app:spin")
        gevent.sleep(0.01)
        greenlet.kill(timeout=2)
        assert greenlet.dead
        with gevent.Timeout(0.05), pytest.raises(gevent.Timeout):
            host.call("app:spin")
        assert host.call("app:add", 2, 3) == 5
