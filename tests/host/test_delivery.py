"""Messages through whole apps: publish in Lua or Python, handle in Lua, settle."""

from __future__ import annotations

from pathlib import Path

import gevent
import pytest

from tests.host.apps import Gate, make_host, wait_for
from wippy_lua import Host, QueueNotFound, WippyError
from wippy_lua.errors import Kind, QueueFull

DRIVER = """\
- name: memory
  kind: queue.driver.memory
"""
QUEUE = """\
- {name: tasks, kind: queue.queue, driver: memory, max_message_size: 1MiB}
"""
CONSUMER = """\
- name: consumer
  kind: queue.consumer
  queue: tasks
  func: handler
  concurrency: 3
  prefetch: 10
  lifecycle: {auto_start: true}
- name: handler
  kind: function.lua
  source: file://handler.lua
  modules: [gate, queue, json, logger]
"""
APP = DRIVER + QUEUE + CONSUMER


def messages_of(host: Host, queue: str) -> int:
    """Returns how many messages a queue holds, and checks that its counts add up."""
    info = host.info(queue)
    assert info.message_count == info.ready + (info.in_flight or 0) + (info.delayed or 0)
    assert info.message_count is not None
    return info.message_count


def test_worker_pool_goes_through_its_four_steps(tmp_path: Path) -> None:
    gate = Gate()
    handler = """
    local gate = require("gate")
    return function(body) gate.wait() gate.note(body.n) return true end
    """
    with make_host(tmp_path, APP, {"gate": gate.functions()}, handler=handler) as host:
        for n in range(20):
            host.publish("app:tasks", {"n": n})
        wait_for(lambda: gate.waiting == 3)
        consumer = host._app.consumers["app:consumer"]
        # 1 and 2: ten are buffered, three workers have taken one each; 4: the rest stays behind.
        assert (consumer.buffered, consumer.working) == (10, 3)
        assert (host.info("app:tasks").in_flight, host.info("app:tasks").ready) == (13, 7)
        gate.let_go(2)
        wait_for(lambda: len(gate.seen) == 2 and gate.waiting == 3)
        # 3: as two finished, two more were taken and two came after them.
        assert (consumer.buffered, consumer.working) == (10, 3)
        assert (host.info("app:tasks").in_flight, host.info("app:tasks").ready) == (13, 5)
        gate.let_go(18)
        wait_for(lambda: messages_of(host, "app:tasks") == 0)
        assert sorted(gate.seen) == list(range(20))


def test_two_queues_three_consumers_and_a_chain_handle_every_message_once(tmp_path: Path) -> None:
    gate = Gate()
    entries = (
        DRIVER
        + QUEUE
        + "- {name: results, kind: queue.queue, driver: memory}\n"
        + "".join(
            f"- {{name: c{n}, kind: queue.consumer, queue: tasks, func: handler, concurrency: 2,"
            " lifecycle: {auto_start: true}}\n"
            for n in range(3)
        )
        + """\
- {name: sink, kind: queue.consumer, queue: results, func: collect, lifecycle: {auto_start: true}}
- {name: handler, kind: function.lua, source: file://handler.lua, modules: [queue]}
- {name: collect, kind: function.lua, source: file://collect.lua, modules: [gate]}
"""
    )
    handler = """
    local queue = require("queue")
    return function(body)
      local ok, err = queue.publish("app:results", {n = body.n * 2})
      if not ok then return nil, err end
    end
    """
    collect = """
    local gate = require("gate")
    return function(body) gate.note(body.n) end
    """
    with make_host(
        tmp_path, entries, {"gate": gate.functions()}, handler=handler, collect=collect
    ) as host:
        for n in range(500):
            host.publish("app:tasks", {"n": n})
            messages_of(host, "app:tasks")
            messages_of(host, "app:results")
        wait_for(lambda: len(gate.seen) >= 500)
        wait_for(lambda: messages_of(host, "app:tasks") + messages_of(host, "app:results") == 0)
        assert sorted(gate.seen) == [n * 2 for n in range(500)]


def test_bodies_and_headers_keep_their_types(tmp_path: Path) -> None:
    gate = Gate()
    handler = """
    local gate, queue = require("gate"), require("queue")
    return function(body)
      local msg = queue.message()
      local kind = type(body) == "number" and math.type(body) or type(body)
      gate.note({kind = kind, body = body, headers = msg:headers(), attempt = msg:attempt()})
    end
    """
    bodies = ["text", b"\xff\x00raw", 7, 1.5, True, {"a": [1, 2]}, [1, "x"]]
    headers: dict[str, str | bool | int | float] = {"s": "ü", "i": 3, "f": 2.0, "b": False}
    with make_host(tmp_path, APP, {"gate": gate.functions()}, handler=handler) as host:
        for body in bodies:
            host.publish("app:tasks", body, headers)
        wait_for(lambda: len(gate.seen) == len(bodies))
    by_kind = {note["kind"]: note for note in gate.seen}
    assert set(by_kind) == {"string", "integer", "float", "boolean", "table"}
    assert {note["body"] for note in gate.seen if note["kind"] == "string"} == {
        "text",
        b"\xff\x00raw",
    }
    for note in gate.seen:
        assert note["headers"] == headers
        assert type(note["headers"]["i"]) is int
        assert type(note["headers"]["f"]) is float
        assert note["attempt"] == 1


@pytest.mark.parametrize(
    ("handler", "runs"),
    [
        ("return function() return true end", 1),
        ("return function() end", 1),
        ("return function(b) return b.x, 2 end", 2),
        ("return function() return false end", 2),
        ("return function() return nil, 'bad' end", 2),
        ("return function() error('bad') end", 2),
        ("return function() error({}) end", 2),
        ("return function() return 1, errors.new('bad') end", 2),
        ("return function() return ('a'):gsub('a', 'b') end", 1),
        ("return function() return pcall(error, 'bad') end", 2),
    ],
)
def test_an_error_is_retried_and_then_dead_lettered(
    tmp_path: Path, handler: str, runs: int
) -> None:
    entries = (
        DRIVER + "- {name: tasks, kind: queue.queue, driver: memory,"
        " dead_letter: {queue: dead, max_attempts: 2}}\n"
        + "- {name: dead, kind: queue.queue, driver: memory}\n"
        + CONSUMER.replace("concurrency: 3", "retry: {initial_delay: 1ms}")
    )
    with make_host(tmp_path, entries, {"gate": Gate().functions()}, handler=handler) as host:
        host.publish("app:tasks", {"n": 1}, {"h": "kept"})
        wait_for(lambda: messages_of(host, "app:tasks") == 0)
        dead = host._app.manager.driver("app:dead").peek("app:dead", 10)
        if runs == 1:
            assert dead == []
            return
        [message] = dead
        assert message.headers["h"] == "kept"
        assert message.headers["x_original_queue"] == "app:tasks"
        assert message.headers["x_attempts"] == runs
        assert message.headers["x_dead_letter_reason"] == "max_attempts"
        assert message.headers["x_error"]


@pytest.mark.parametrize("auto_ack", ["false", "true"])
def test_a_message_past_its_last_attempt_is_dead_lettered_and_not_handled(
    tmp_path: Path, auto_ack: str
) -> None:
    gate = Gate()
    entries = (
        DRIVER + "- {name: tasks, kind: queue.queue, driver: memory,"
        " dead_letter: {queue: dead, max_attempts: 2}}\n"
        + "- {name: dead, kind: queue.queue, driver: memory}\n"
        + CONSUMER.replace("concurrency: 3", f"auto_ack: {auto_ack}")
    )
    handler = "local gate = require('gate') return function(body) gate.note(body.n) end"
    with make_host(tmp_path, entries, {"gate": gate.functions()}, handler=handler) as host:
        host.stop_service("app:consumer")
        host.publish("app:tasks", {"n": 1})
        driver = host._app.manager.driver("app:tasks")
        for _ in range(2):  # As hosts do that die with it.
            [delivery] = driver.take("app:tasks", 1)
            delivery.release(0.0, charged=True)
        host.publish("app:tasks", {"n": 2})
        host.start_service("app:consumer")
        wait_for(lambda: messages_of(host, "app:tasks") == 0)
        [message] = driver.peek("app:dead", 10)
        wait_for(lambda: gate.seen == [2])
    assert message.headers["x_dead_letter_reason"] == "max_attempts"
    assert "ended without an outcome" in str(message.headers["x_error"])


def test_message_verbs_settle_once_and_win_over_the_result(tmp_path: Path) -> None:
    gate = Gate()
    handler = """
    local gate, queue = require("gate"), require("queue")
    local kept
    return function(body)
      local msg = queue.message()
      if kept then
        local _, err = kept:id()
        gate.note(err:message())
      end
      kept = msg
      assert(msg:ack())
      local _, err = msg:nack()
      gate.note(err:message() .. "/" .. err:kind())
      error("too late")
    end
    """
    entries = APP.replace("concurrency: 3", "concurrency: 1")
    with make_host(tmp_path, entries, {"gate": gate.functions()}, handler=handler) as host:
        host.publish("app:tasks", {"n": 1})
        host.publish("app:tasks", {"n": 2})
        wait_for(lambda: len(gate.seen) == 3)
        wait_for(lambda: messages_of(host, "app:tasks") == 0)
    settled = "queue.Message already settled/Invalid"
    assert gate.seen == [settled, "queue.Message released", settled]


def test_snooze_gives_back_the_attempt_and_nack_spends_it(tmp_path: Path) -> None:
    gate = Gate()
    handler = """
    local gate, queue = require("gate"), require("queue")
    local calls = 0
    return function()
      calls = calls + 1
      local msg = queue.message()
      gate.note(msg:attempt())
      if calls == 1 then return msg:snooze("1ms") end
      if calls == 2 then return msg:nack({delay = 0.001}) end
    end
    """
    entries = APP.replace("concurrency: 3", "concurrency: 1")
    with make_host(tmp_path, entries, {"gate": gate.functions()}, handler=handler) as host:
        host.publish("app:tasks", {"n": 1})
        wait_for(lambda: len(gate.seen) == 3)
    assert gate.seen == [1, 1, 2]


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        ('queue.publish("", {1})', "Invalid"),
        ('queue.publish("app:tasks")', "Invalid"),
        ('queue.publish("app:tasks", {})', "Invalid"),
        ('queue.publish("app:nothing", {1})', "NotFound"),
        ('queue.publish("app:tasks", {1}, {x_mine = 1})', "Invalid"),
        ('queue.publish("app:tasks", {1}, {t = {}})', "Invalid"),
        ('queue.publish("app:tasks", {1}, {[1] = "a"})', "Invalid"),
        ('queue.publish("app:tasks", {1}, nil, {delay = "8761h"})', "Invalid"),
        ('queue.publish("app:tasks", {1}, nil, {delay = 1e12})', "Invalid"),
        ('queue.publish("app:tasks", {1}, nil, {delay = -1})', "Invalid"),
        ('queue.publish("app:tasks", {1}, nil, {dely = 1})', "Invalid"),
        ('queue.publish("app:tasks", {"\\xff"})', "Invalid"),
        ('queue.publish("app:tasks", ("x"):rep(2 * 1024 * 1024))', "Invalid"),
        ("queue.message()", "Invalid"),
        ('queue.info("app:nothing")', "NotFound"),
    ],
)
def test_bad_use_of_the_queue_module_is_an_error_of_its_kind(
    tmp_path: Path, call: str, kind: str
) -> None:
    handler = f"""
    local queue = require("queue")
    return function()
      local _, err = {call}
      return err:kind()
    end
    """
    with make_host(tmp_path, APP, {"gate": Gate().functions()}, handler=handler) as host:
        assert host.call("app:handler") == kind
        assert host.info("app:tasks").message_count == 0


def test_publish_many_gives_an_id_to_each_and_names_what_found_no_room(tmp_path: Path) -> None:
    entries = DRIVER + (
        "- {name: tasks, kind: queue.queue, driver: memory, options: {max_length: 3}}\n"
        "- {name: handler, kind: function.lua, source: file://handler.lua, modules: [queue]}\n"
    )
    handler = """
    local queue = require("queue")
    return function(count)
      local list = {}
      for i = 1, count do list[i] = {n = i} end
      local ok, err, ids = queue.publish_many("app:tasks", list, nil, {timeout = "10ms"})
      local failed = err and err:details().failed
      return {ok = ok, ids = ids and #ids, failed = failed, kind = err and err:kind()}
    end
    """
    with make_host(tmp_path, entries, handler=handler) as host:
        assert host.call("app:handler", 2) == {"ok": True, "ids": 2}
        assert host.call("app:handler", 3) == {"failed": [2, 3], "kind": "Unavailable"}
        assert messages_of(host, "app:tasks") == 3


def test_a_body_that_does_not_decode_is_dead_lettered(tmp_path: Path) -> None:
    entries = (
        DRIVER + "- {name: tasks, kind: queue.queue, driver: memory,"
        " dead_letter: {queue: dead, max_attempts: 5}}\n"
        + "- {name: dead, kind: queue.queue, driver: memory}\n"
        + CONSUMER
    )
    gate = Gate()
    handler = 'local gate = require("gate") return function() gate.note(1) end'
    with make_host(tmp_path, entries, {"gate": gate.functions()}, handler=handler) as host:
        host.publish("app:tasks", b'{"broken', {"content_type": "application/json"})
        wait_for(lambda: messages_of(host, "app:dead") == 1)
        [message] = host._app.manager.driver("app:dead").peek("app:dead", 1)
    assert gate.seen == []
    assert message.body == b'{"broken'
    assert message.headers["x_dead_letter_reason"] == "not_retryable"
    assert "does not decode" in str(message.headers["x_error"])


def test_a_full_queue_makes_publish_wait_and_then_fail(tmp_path: Path) -> None:
    entries = (
        DRIVER + "- {name: tasks, kind: queue.queue, driver: memory, options: {max_length: 1}}\n"
    )
    with make_host(tmp_path, entries) as host:
        host.publish("app:tasks", {"n": 1})
        with pytest.raises(QueueFull) as caught:
            host.publish("app:tasks", {"n": 2}, timeout=0.01)
        assert caught.value.kind is Kind.UNAVAILABLE
        assert caught.value.retryable is True
        with pytest.raises(QueueNotFound):
            host.publish("app:nothing", {"n": 1})
        with pytest.raises(WippyError, match="365 days"):
            host.publish("app:tasks", {"n": 1}, delay="8761h")


def test_auto_ack_settles_before_the_handler_runs(tmp_path: Path) -> None:
    gate = Gate()
    handler = """
    local gate, queue = require("gate"), require("queue")
    return function()
      gate.note(queue.info("app:tasks").message_count)
      error("lost")
    end
    """
    entries = APP.replace("concurrency: 3", "auto_ack: true")
    with make_host(tmp_path, entries, {"gate": gate.functions()}, handler=handler) as host:
        host.publish("app:tasks", {"n": 1})
        wait_for(lambda: gate.seen == [0])
        gevent.sleep(0.01)
        assert messages_of(host, "app:tasks") == 0


def test_dead_letters_travel_to_a_queue_of_another_driver(tmp_path: Path) -> None:
    entries = (
        DRIVER
        + "- {name: other, kind: queue.driver.memory}\n"
        + "- {name: tasks, kind: queue.queue, driver: memory,"
        " dead_letter: {queue: dead, max_attempts: 1}}\n"
        + "- {name: dead, kind: queue.queue, driver: other, options: {max_length: 1}}\n"
        + CONSUMER.replace("concurrency: 3", "retry: {max_delay: 10ms}")
    )
    handler = "return function(b) error('no ' .. b.n) end"
    with make_host(tmp_path, entries, {"gate": Gate().functions()}, handler=handler) as host:
        host.publish("app:tasks", {"n": 1})
        wait_for(lambda: messages_of(host, "app:dead") == 1)
        wait_for(lambda: messages_of(host, "app:tasks") == 0)


def test_a_python_result_that_lua_cannot_read_is_an_error(tmp_path: Path) -> None:
    entry = """
- {name: ask, kind: function.lua, modules: [odd],
   source: "return function() return tostring(select(2, require('odd').give())) end"}
"""
    with make_host(tmp_path, entry, {"odd": {"give": lambda: {1.5: 1}}}) as host:
        assert "a map's key must be text or an integer of 64 bits, not 1.5" in str(
            host.call("app:ask")
        )
