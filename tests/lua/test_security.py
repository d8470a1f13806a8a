"""The Lua module `security`, asked by functions that Python calls as somebody."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lua.running import HELPERS, host_of
from wippy_lua import Host
from wippy_lua.security import Actor, Condition, Policy, Scope, Verdict

ENTRIES = """\
- name: own
  kind: security.policy
  groups: [staff, all]
  policy:
    actions: order.*
    resources: "*"
    effect: allow
    conditions: [{field: meta.owner, operator: eq, value_from: actor.id}]
- name: frozen
  kind: security.policy
  groups: [all]
  policy:
    actions: "*"
    resources: app:frozen
    effect: deny
- name: run
  kind: function.lua
  source: file://run.lua
  modules: [security]
"""
RUN = (
    HELPERS
    + """
local security = require("security")
local env = setmetatable({security = security, problem = problem}, {__index = _G})
return function(text)
  return {assert(load("return " .. text, "=test", "t", env))()} -- just false would be a failure
end
"""
)
ANNA = Actor("anna", {"level": 3, "teams": ["red"]})


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    folder: Path = tmp_path_factory.mktemp("app")
    (folder / "run.lua").write_text(RUN)
    with host_of(folder, entries=ENTRIES) as host:
        yield host


def run(host: Host, text: str, actor: Actor | None = None, scope: Scope | None = None) -> object:
    [value] = host.call("app:run", text, actor=actor, scope=scope)
    return value


def test_code_without_an_actor_and_a_scope_has_none_and_may_do_everything(host: Host) -> None:
    text = '{security.actor() == nil, security.scope() == nil, security.can("any", "thing")}'
    assert run(host, text) == [True, True, True]


def test_an_actor_tells_its_id_and_a_copy_of_its_facts(host: Host) -> None:
    text = """(function()
      local actor = security.actor()
      actor:meta().level = 9
      return {actor:id(), actor:meta()}
    end)()"""
    assert run(host, text, ANNA) == ["anna", {"level": 3, "teams": ["red"]}]


def test_an_actor_without_facts_has_an_empty_table(host: Host) -> None:
    assert run(host, "next(security.actor():meta()) == nil", Actor("x")) is True
    assert run(host, 'next(security.new_actor("x"):meta()) == nil') is True


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        ('"order.pay", "app:1", {owner = "anna"}', True),
        ('"order.pay", "app:1", {owner = "bob"}', False),
        ('"order.pay", "app:1"', False),
        ('"order.pay", "app:1", {}', False),
        ('"order.pay", "app:frozen", {owner = "anna"}', False),
        ('"ship", "app:1", {owner = "anna"}', False),
    ],
)
def test_can_is_what_the_scope_says_of_the_actor(host: Host, arguments: str, allowed: bool) -> None:
    assert run(host, f"security.can({arguments})", ANNA, host.scope(["all"])) is allowed


def test_an_actor_without_a_scope_may_do_nothing(host: Host) -> None:
    assert run(host, 'security.can("a", "b")', ANNA) is False


def test_a_scope_without_an_actor_decides_alone(host: Host) -> None:
    free = Scope.of(Policy("p", Verdict.ALLOW, ("free",), ("*",)))
    assert run(host, '{security.can("free", "b"), security.can("a", "b")}', scope=free) == [
        True,
        False,
    ]


EVALUATED = """(function()
  local anna = security.new_actor("anna", {level = 3})
  local own, frozen = security.policy("app:own"), security.policy("app:frozen")
  local both = security.new_scope({own}):with(frozen)
  local meta = {owner = "anna"}
  return {
    own:evaluate(anna, "order.pay", "app:1", meta),
    own:evaluate(anna, "order.pay", "app:1"),
    own:evaluate(nil, "order.pay", "app:1", meta),
    frozen:evaluate(anna, "any", "app:frozen"),
    both:evaluate(anna, "order.pay", "app:1", meta),
    both:evaluate(anna, "order.pay", "app:frozen", meta),
    both:without(frozen):evaluate(anna, "order.pay", "app:frozen", meta),
    security.new_scope():evaluate(anna, "order.pay", "app:1", meta),
    security.named_scope("all"):evaluate(anna, "order.pay", "app:frozen", meta),
    security.named_scope("staff"):evaluate(anna, "order.pay", "app:frozen", meta),
  }
end)()"""


def test_policies_and_scopes_can_be_asked_about_anybody(host: Host) -> None:
    assert run(host, EVALUATED) == [
        "allow",
        "undefined",
        "undefined",
        "deny",
        "allow",
        "deny",
        "allow",
        "undefined",
        "deny",
        "allow",
    ]


SETS = """(function()
  local own, frozen = security.policy("app:own"), security.policy("app:frozen")
  local one = security.new_scope({own, own})
  local two = one:with(frozen):with(own)
  local ids = {}
  for index, policy in ipairs(two:policies()) do ids[index] = policy:id() end
  return {
    #one:policies(), ids, one:contains(frozen), two:contains(frozen), two:contains("app:own"),
    two:without("app:own"):contains(own), two:contains(own),
  }
end)()"""


def test_scopes_are_sets_that_never_change(host: Host) -> None:
    assert run(host, SETS) == [1, ["app:own", "app:frozen"], False, True, True, False, True]


def test_the_calls_own_scope_is_known_whoever_made_its_policies(host: Host) -> None:
    rich = Condition("actor.meta.level", "gt", 2)
    scope = Scope.of(Policy("python:made", Verdict.ALLOW, ("*",), ("*",), (rich,)))
    text = """(function()
      local scope = security.scope()
      return {scope:contains("python:made"), scope:evaluate(security.actor(), "a", "b"),
              security.policy("python:made"):evaluate(security.new_actor("x"), "a", "b")}
    end)()"""
    assert run(host, text, ANNA, scope) == [True, "allow", "undefined"]


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        ('security.policy("app:none")', "NotFound"),
        ('security.policy("app:run")', "NotFound"),
        ("security.policy(3)", "Invalid"),
        ('security.named_scope("none")', "NotFound"),
        ('security.named_scope("")', "Invalid"),
        ("security.new_scope({3})", "Invalid"),
        ('security.new_scope("x")', "Invalid"),
        ('security.new_actor("")', "Invalid"),
        ('security.new_actor("x", 3)', "Invalid"),
        ('security.can("", "x")', "Invalid"),
        ('security.can("x")', "Invalid"),
        ('security.can("x", "y", 3)', "Invalid"),
        ('security.can("x", "y", {1, 2})', "Invalid"),
        ('security.can("\\xff", "y")', "Invalid"),
        ('security.can("x", ("y"):rep(1025))', "Invalid"),
        ('security.can("x", "y", {text = ("z"):rep(65536)})', "Invalid"),
        ('security.policy(("p"):rep(1025))', "Invalid"),
        ('security.new_scope():evaluate("anna", "a", "b")', "Invalid"),
        ('security.new_scope():evaluate(nil, "", "b")', "Invalid"),
        ('security.new_scope():with("app:own")', "Invalid"),
        ("security.new_scope():without(3)", "Invalid"),
        ("security.new_scope():contains({})", "Invalid"),
    ],
)
def test_what_cannot_be_is_nil_and_an_error(host: Host, call: str, kind: str) -> None:
    found = run(host, f"problem({call})", ANNA, host.scope(["all"]))
    assert isinstance(found, dict)
    assert found.get("kind") == kind


@pytest.mark.parametrize(
    "misuse",
    [
        "security.new_actor('x').id()",
        "security.new_scope().policies({})",
        "(function() security.new_actor('x').id = 3 end)()",
        "rawset(security.new_actor('x'), 'id', 3)",
        "setmetatable(security.new_scope(), {})",
    ],
)
def test_objects_cannot_be_misused_or_changed(host: Host, misuse: str) -> None:
    assert run(host, f"(pcall(function() return {misuse} end))") is False
