"""Consumers, processes and calls held to policies, each to its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gevent
import pytest

from tests.host.apps import Gate, wait_for, write_app
from wippy_lua import CallError, Host, Kind, WippyError
from wippy_lua.security import Actor, Policy, Scope, Verdict

POLICIES = """\
- {name: memory, kind: queue.driver.memory}
- {name: a, kind: queue.queue, driver: memory}
- {name: b, kind: queue.queue, driver: memory}
- {name: in1, kind: queue.queue, driver: memory}
- {name: in2, kind: queue.queue, driver: memory}
- {name: cache, kind: store.memory}
- name: to_a
  kind: security.policy
  groups: [senders]
  policy: {actions: [queue.publish, queue.publish.queue], resources: app:a, effect: allow}
- name: reads
  kind: security.policy
  policy: {actions: [store.get, store.has], resources: app:cache, effect: allow}
- name: everything
  kind: security.policy
  policy: {actions: "*", resources: "*", effect: allow}
"""
CONSUMERS = """\
- name: sender
  kind: queue.consumer
  queue: in1
  func: relay
  lifecycle:
    auto_start: true
    security: {actor: {id: sender, meta: {level: 1}}, groups: [senders]}
- name: mute
  kind: queue.consumer
  queue: in2
  func: relay
  lifecycle: {auto_start: true, security: {actor: {id: mute}, policies: [reads]}}
- name: relay
  kind: function.lua
  source: file://relay.lua
  modules: [gate, queue, security]
"""
TELL = """
local gate, queue, security = require("gate"), require("queue"), require("security")
local function tell(id, ok, err)
  local actor = security.actor()
  local line = {to = id, by = actor and actor:id() or "nobody", ok = ok or false}
  if err then
    line.kind, line.details, line.retryable = err:kind(), err:details(), err:retryable()
  end
  gate.note(line)
end
"""
RELAY = (
    TELL
    + """
return function(body)
  if body.wait then gate.wait() end
  tell(body.to, queue.publish(body.to, {n = 1}))
end
"""
)


class Lines:
    """A log that keeps its warnings."""

    def __init__(self, lines: list[dict[str, Any]] | None = None, **bound: Any) -> None:
        self.lines = [] if lines is None else lines
        self._bound = bound

    def bind(self, **fields: Any) -> Lines:
        return Lines(self.lines, **{**self._bound, **fields})

    def warning(self, msg: str, /, **fields: Any) -> None:
        self.lines.append({"msg": msg, **self._bound, **fields})

    def debug(self, msg: str, /, **fields: Any) -> None: ...
    def info(self, msg: str, /, **fields: Any) -> None: ...
    def error(self, msg: str, /, **fields: Any) -> None: ...

    def denied(self) -> list[Mapping[str, Any]]:
        return [line for line in self.lines if line["msg"] == "denied"]


def host_of(folder: Path, entries: str, gate: Gate, log: Lines, **scripts: str) -> Host:
    write_app(folder, POLICIES + entries, **scripts)
    return Host(folder, modules={"gate": gate.functions()}, env={}, log=log)


def test_consumers_side_by_side_may_publish_what_their_own_policies_allow(tmp_path: Path) -> None:
    gate, log = Gate(), Lines()
    with host_of(tmp_path, CONSUMERS, gate, log, relay=RELAY) as host:
        for queue in ("in1", "in2"):
            for to in ("app:a", "app:b"):
                host.publish(f"app:{queue}", {"to": to, "wait": True})
        wait_for(lambda: gate.waiting == 2)  # one of each consumer is inside its handler
        gate.let_go(4)
        wait_for(lambda: len(gate.seen) == 4)
        assert host.info("app:a").ready == 1
        assert host.info("app:b").ready == 0
    seen = {(line["by"], line["to"]): line for line in gate.seen}
    assert seen["sender", "app:a"]["ok"] is True
    for by, to in (("sender", "app:b"), ("mute", "app:a"), ("mute", "app:b")):
        assert seen[by, to] == {
            "by": by,
            "to": to,
            "ok": False,
            "kind": "Invalid",
            "retryable": False,
            "details": {"action": "queue.publish", "resource": to},
        }


def test_a_denial_is_a_log_line_with_the_actor(tmp_path: Path) -> None:
    gate, log = Gate(), Lines()
    with host_of(tmp_path, CONSUMERS, gate, log, relay=RELAY) as host:
        message_id = host.publish("app:in2", {"to": "app:a"})
        wait_for(lambda: gate.seen)
    assert log.denied() == [
        {
            "msg": "denied",
            "logger": "security",
            "actor": "mute",
            "action": "queue.publish",
            "resource": "app:a",
            "function": "app:relay",
            "consumer": "app:mute",
            "queue": "app:in2",
            "message_id": message_id,
            "attempt": 1,
        }
    ]


FUNCTION = """\
- {name: f, kind: function.lua, source: file://f.lua, modules: [gate, queue, security, store]}
"""
PUBLISH = TELL + "return function(id) tell(id, queue.publish(id, {n = 1})) end"


def allow(*actions: str, resource: str = "*") -> Policy:
    return Policy(f"test:{actions}", Verdict.ALLOW, actions, (resource,))


def test_publishing_takes_both_permissions(tmp_path: Path) -> None:
    gate, log = Gate(), Lines()
    some = [("queue.publish",), ("queue.publish.queue",), ("queue.publish", "queue.publish.queue")]
    with host_of(tmp_path, FUNCTION, gate, log, f=PUBLISH) as host:
        for actions in some:
            host.call("app:f", "app:a", scope=Scope.of(allow(*actions)))
    assert [line["ok"] for line in gate.seen] == [False, False, True]
    assert [line["action"] for line in log.denied()] == ["queue.publish.queue", "queue.publish"]


def test_a_denied_list_publishes_none_of_it(tmp_path: Path) -> None:
    script = TELL + "return function(id) tell(id, queue.publish_many(id, {1, 2})) end"
    gate, log = Gate(), Lines()
    with host_of(tmp_path, FUNCTION, gate, log, f=script) as host:
        host.call("app:f", "app:b", scope=host.scope(["senders"]))
        host.call("app:f", "app:a", scope=host.scope(["senders"]))
        assert (host.info("app:a").ready, host.info("app:b").ready) == (2, 0)
    assert gate.seen[0]["details"] == {"action": "queue.publish", "resource": "app:b"}


def test_calls_at_the_same_time_keep_their_own_actors(tmp_path: Path) -> None:
    script = TELL + "return function() gate.wait() return security.actor():id() end"
    gate = Gate()
    with host_of(tmp_path, FUNCTION, gate, Lines(), f=script) as host:
        actors = [f"user:{n}" for n in range(5)]
        calls = [gevent.spawn(host.call, "app:f", actor=Actor(name)) for name in actors]
        wait_for(lambda: gate.waiting == 5)
        gate.let_go(5)
        assert [call.get(timeout=5) for call in calls] == actors


def test_a_vm_keeps_nothing_of_the_actor_it_served_before(tmp_path: Path) -> None:
    script = TELL + "return function() return security.actor() and security.actor():id() end"
    with host_of(tmp_path, FUNCTION, Gate(), Lines(), f=script) as host:
        assert host.call("app:f", actor=Actor("anna")) == "anna"
        assert host.call("app:f") is None


STORE = """
local store = require("store")
return function(verb, ...)
  local kv = assert(store.get("app:cache"))
  local value, err
  if verb == "once" then
    local key, ttl = ...
    value, err = kv:once(key, ttl, function() end)
  else
    value, err = kv[verb](kv, ...)
  end
  if err then
    return {kind = err:kind(), action = err:details().action, on = err:details().resource}
  end
  return {value = value}
end
"""


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        (("get", "k"), {}),
        (("has", "k"), {"value": False}),
        (("set", "k", 1), {"kind": "Invalid", "action": "store.set", "on": "app:cache"}),
        (("delete", "k"), {"kind": "Invalid", "action": "store.delete", "on": "app:cache"}),
        (("incr", "k"), {"kind": "Invalid", "action": "store.incr", "on": "app:cache"}),
        (
            ("set_if_absent", "k", 1),
            {"kind": "Invalid", "action": "store.set_if_absent", "on": "app:cache"},
        ),
        (("once", "k", "1h"), {"kind": "Invalid", "action": "store.once", "on": "app:cache"}),
    ],
)
def test_each_use_of_a_store_takes_its_own_permission(
    tmp_path: Path, arguments: tuple[object, ...], result: Mapping[str, object]
) -> None:
    with host_of(tmp_path, FUNCTION, Gate(), Lines(), f=STORE) as host:
        scope = host.scope(policies=["app:reads"])
        found = host.call("app:f", *arguments, actor=Actor("reader"), scope=scope)
        assert (found or {}) == result


STRICT = "- {name: host, kind: host.config, security: strict}\n"


def test_a_strict_app_denies_code_without_an_actor(tmp_path: Path) -> None:
    gate, log = Gate(), Lines()
    entries = STRICT + FUNCTION + CONSUMERS.replace("actor: {id: mute}, policies: [reads]", "")
    with host_of(tmp_path, entries, gate, log, f=PUBLISH, relay=RELAY) as host:
        host.call("app:f", "app:a")
        host.publish("app:in2", {"to": "app:a"})
        host.publish("app:in1", {"to": "app:a"})
        wait_for(lambda: len(gate.seen) == 3)
    by = sorted((line["by"], line["ok"]) for line in gate.seen)
    assert by == [("nobody", False), ("nobody", False), ("sender", True)]
    assert [line["actor"] for line in log.denied()] == [None, None]


def test_an_open_app_lets_code_without_an_actor_do_everything(tmp_path: Path) -> None:
    gate, log = Gate(), Lines()
    with host_of(tmp_path, FUNCTION, gate, log, f=PUBLISH) as host:
        host.call("app:f", "app:b")
    assert [line["ok"] for line in gate.seen] == [True]
    assert log.denied() == []


@pytest.mark.parametrize("entries", [STRICT, ""])
def test_main_lua_acts_as_nobody(tmp_path: Path, entries: str) -> None:
    gate = Gate()
    main = TELL + 'tell("app:a", queue.publish("app:a", {n = 1})) return 0'
    with host_of(tmp_path, entries, gate, Lines(), main=main) as host:
        host.run_main()
    assert [line["ok"] for line in gate.seen] == [entries == ""]


def test_a_strict_app_loads_modules_as_nobody(tmp_path: Path) -> None:
    script = """
    local store = require("store")
    local _, err = store.get("app:cache"):get("k")
    local kind = err and err:kind()
    return function() return kind end
    """
    with host_of(tmp_path, STRICT + FUNCTION, Gate(), Lines(), f=script) as host:
        assert host.call("app:f", scope=host.scope(policies=["app:everything"])) == "Invalid"


def test_a_process_acts_as_its_lifecycle_says(tmp_path: Path) -> None:
    entries = """\
- name: program
  kind: process.lua
  source: file://program.lua
  modules: [gate, queue, security]
- name: service
  kind: process.service
  process: program
  lifecycle: {auto_start: true, security: {actor: {id: proc}, groups: [senders]}}
"""
    program = TELL + (
        "return {main = function()"
        ' tell("app:a", queue.publish("app:a", {n = 1})) tell("app:b", queue.publish("app:b", 1))'
        " end}"
    )
    gate = Gate()
    with host_of(tmp_path, entries, gate, Lines(), program=program):
        wait_for(lambda: len(gate.seen) == 2)
    assert [(line["by"], line["to"], line["ok"]) for line in gate.seen] == [
        ("proc", "app:a", True),
        ("proc", "app:b", False),
    ]


NESTED = """\
- {name: outer, kind: function.lua, source: file://outer.lua, modules: [funcs]}
"""
OUTER = """
local funcs = require("funcs")
return function(to)
  local called, err = funcs.call("app:f", to)
  local later, start_err = funcs.async("app:f", to)
  if later then later:response() end
  return {denied = err and err:details(), start_denied = start_err and start_err:details()}
end
"""


def test_calls_of_a_call_act_as_it_does(tmp_path: Path) -> None:
    gate, log = Gate(), Lines()
    entries = FUNCTION + NESTED
    with host_of(tmp_path, entries, gate, log, f=PUBLISH, outer=OUTER) as host:
        policies = [*host.scope(["senders"]).policies, allow("funcs.call", resource="app:f")]
        for to in ("app:a", "app:b"):
            host.call("app:outer", to, actor=Actor("anna"), scope=Scope.of(*policies))
        host.call("app:outer", "app:b")
    assert [(line["by"], line["to"], line["ok"]) for line in gate.seen] == [
        ("anna", "app:a", True),
        ("anna", "app:a", True),
        ("anna", "app:b", False),
        ("anna", "app:b", False),
        ("nobody", "app:b", True),
        ("nobody", "app:b", True),
    ]


def test_calling_a_function_takes_permission_for_it(tmp_path: Path) -> None:
    gate, log = Gate(), Lines()
    entries = FUNCTION + NESTED
    with host_of(tmp_path, entries, gate, log, f=PUBLISH, outer=OUTER) as host:
        found = host.call("app:outer", "app:a", actor=Actor("anna"), scope=host.scope(["senders"]))
    denied = {"action": "funcs.call", "resource": "app:f"}
    assert found == {"denied": denied, "start_denied": denied}
    assert gate.seen == []
    assert [(line["actor"], line["function"]) for line in log.denied()] == [
        ("anna", "app:outer"),
        ("anna", "app:outer"),
    ]


def test_a_process_loads_as_its_lifecycle_says_too(tmp_path: Path) -> None:
    entries = """\
- {name: program, kind: process.lua, source: file://program.lua, modules: [gate, store]}
- name: service
  kind: process.service
  process: program
  lifecycle: {auto_start: true, security: {actor: {id: proc}, groups: [senders]}}
"""
    program = """
    local gate, store = require("gate"), require("store")
    local _, err = store.get("app:cache"):get("k")
    return {main = function() gate.note(err and err:details().action or "free") end}
    """
    gate = Gate()
    with host_of(tmp_path, entries, gate, Lines(), program=program):
        wait_for(lambda: gate.seen)
    assert gate.seen == ["store.get"]


DECLARE = """
local gate, queue, security = require("gate"), require("queue"), require("security")
local M = {}
function M.handler(body)
  local ok, err = queue.publish(body.to, {n = 1})
  gate.note({by = security.actor():id(), to = body.to, ok = ok or false})
end
function M.main(config)
  local ok, err = queue.consume("app:in1", M.handler, config)
  return {ok = ok, kind = err and err:kind()}
end
return M
"""


def test_a_consumer_that_lua_starts_acts_as_that_lua(tmp_path: Path) -> None:
    gate = Gate()
    with host_of(tmp_path, FUNCTION, gate, Lines(), f=DECLARE) as host:
        scope = host.scope(["senders"])
        assert host.call("app:f", {}, actor=Actor("anna"), scope=scope) == {"ok": True}
        host.publish("app:in1", {"to": "app:a"})
        host.publish("app:in1", {"to": "app:b"})
        wait_for(lambda: len(gate.seen) == 2)
    assert [(line["by"], line["to"], line["ok"]) for line in gate.seen] == [
        ("anna", "app:a", True),
        ("anna", "app:b", False),
    ]


def test_lua_cannot_start_a_consumer_that_may_do_more(tmp_path: Path) -> None:
    config = {"lifecycle": {"security": {"policies": ["app:everything"]}}}
    with host_of(tmp_path, FUNCTION, Gate(), Lines(), f=DECLARE) as host:
        found = host.call("app:f", config, scope=host.scope(["senders"]))
        assert found == {"kind": "Invalid"}


def test_python_publishes_as_an_actor_when_it_says_so(tmp_path: Path) -> None:
    log = Lines()
    with host_of(tmp_path, "", Gate(), log) as host:
        scope = host.scope(["senders"])
        host.publish("app:a", 1, actor=Actor("anna"), scope=scope)
        with pytest.raises(WippyError) as caught:
            host.publish("app:b", 1, actor=Actor("anna"), scope=scope)
        assert (host.info("app:a").ready, host.info("app:b").ready) == (1, 0)
    assert caught.value.kind is Kind.INVALID
    assert caught.value.details == {"action": "queue.publish", "resource": "app:b"}
    assert [(line["actor"], line["resource"]) for line in log.denied()] == [("anna", "app:b")]


def test_a_group_that_does_not_exist_makes_no_scope(tmp_path: Path) -> None:
    host = host_of(tmp_path, "", Gate(), Lines())
    with pytest.raises(WippyError) as caught:
        host.scope(["nobody"])
    assert caught.value.kind is Kind.NOT_FOUND
    assert not isinstance(caught.value, CallError)


def test_reading_a_variable_takes_permission_for_it(tmp_path: Path) -> None:
    entries = """\
- {name: config, kind: host.config, env: [OPEN, CLOSED]}
- name: reads_open
  kind: security.policy
  policy: {actions: env.get, resources: OPEN, effect: allow}
- name: read
  kind: function.lua
  modules: [env]
  source: |
    local env = require("env")
    return function()
      local _, err = env.get("CLOSED")
      return {open = env.get("OPEN"), all = env.get_all(), kind = err and err:kind()}
    end
"""
    write_app(tmp_path, entries)
    with Host(tmp_path, env={"OPEN": "1", "CLOSED": "2"}) as host:
        free = host.call("app:read")
        assert free == {"open": "1", "all": {"OPEN": "1", "CLOSED": "2"}}
        held = host.call(
            "app:read", actor=Actor("reader"), scope=host.scope(policies=["app:reads_open"])
        )
        assert held == {"open": "1", "all": {"OPEN": "1"}, "kind": "Invalid"}
