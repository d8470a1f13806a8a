"""Policies, scopes and conditions: pure, and so tested as tables."""

from __future__ import annotations

import time
from typing import Any, get_args

import pytest

from wippy_lua.security.condition import Condition, ConditionError, Operator
from wippy_lua.security.policy import Actor, Policy, Scope, Verdict
from wippy_lua.security.request import Request

ALLOW, DENY, UNDEFINED = Verdict.ALLOW, Verdict.DENY, Verdict.UNDEFINED

ANNA = Actor(
    "user:anna",
    {
        "role": "admin",
        "level": 5,
        "ratio": 0.5,
        "active": True,
        "teams": ["red", "blue"],
        "home": {"city": "Rome", "zip": None},
        "limit": 100,
        "name": "Anna Bell",
    },
)
REQUEST = Request(ANNA, "order.refund", "app:orders", {"amount": 50, "owner": "user:anna"})

# Field, operator, value, whether it holds.
VALUES: list[tuple[str, Operator, object, bool]] = [
    ("actor.id", "eq", "user:anna", True),
    ("actor.id", "eq", "user:bob", False),
    ("action", "eq", "order.refund", True),
    ("resource", "eq", "app:orders", True),
    ("meta.amount", "eq", 50, True),
    ("meta.amount", "eq", 50.0, True),
    ("meta.amount", "eq", "50", False),
    ("actor.meta.home.city", "eq", "Rome", True),
    ("actor.meta.role.city", "eq", "Rome", False),
    ("actor.meta.active", "eq", True, True),
    ("actor.meta.active", "eq", 1, False),
    ("actor.meta.level", "eq", True, False),
    ("actor.meta.teams", "eq", ["red", "blue"], True),
    ("actor.meta.teams", "eq", ["blue", "red"], False),
    ("actor.meta.teams", "eq", ["red"], False),
    ("actor.meta.home", "eq", {"city": "Rome"}, False),
    ("meta.absent", "eq", "x", False),
    ("actor.id", "ne", "user:bob", True),
    ("actor.id", "ne", "user:anna", False),
    ("meta.absent", "ne", "x", True),
    ("actor.meta.level", "lt", 6, True),
    ("actor.meta.level", "lt", 5, False),
    ("actor.meta.level", "gt", 4.5, True),
    ("actor.meta.level", "gt", 5, False),
    ("actor.meta.level", "lte", 5, True),
    ("actor.meta.level", "lte", 4, False),
    ("actor.meta.ratio", "gte", 0.5, True),
    ("actor.meta.ratio", "gte", 1, False),
    ("actor.meta.role", "lt", "b", True),
    ("actor.meta.role", "gt", "b", False),
    ("actor.meta.role", "gte", 1, False),
    ("actor.meta.level", "lt", "6", False),
    ("actor.meta.active", "lt", 6, False),
    ("meta.absent", "lt", 6, False),
    ("meta.absent", "gte", 6, False),
    ("actor.meta.role", "in", ["admin", "owner"], True),
    ("actor.meta.role", "in", ["guest"], False),
    ("actor.meta.role", "in", [], False),
    ("actor.meta.active", "in", [1], False),
    ("meta.absent", "in", ["x"], False),
    ("actor.meta.role", "nin", ["guest"], True),
    ("actor.meta.role", "nin", ["admin"], False),
    ("meta.absent", "nin", ["x"], True),
    ("actor.meta.role", "exists", None, True),
    ("actor.meta.home", "exists", None, True),
    ("actor.meta.home.zip", "exists", None, False),
    ("meta.absent", "exists", None, False),
    ("meta.absent", "nexists", None, True),
    ("actor.meta.role", "nexists", None, False),
    ("actor.meta.teams", "contains", "red", True),
    ("actor.meta.teams", "contains", "green", False),
    ("actor.meta.teams", "contains", "re", False),
    ("actor.meta.name", "contains", "Bell", True),
    ("actor.meta.name", "contains", 5, False),
    ("actor.meta.level", "contains", 5, False),
    ("meta.absent", "contains", "x", False),
    ("actor.meta.teams", "ncontains", "green", True),
    ("actor.meta.teams", "ncontains", "red", False),
    ("meta.absent", "ncontains", "x", True),
    ("actor.id", "matches", "^user:", True),
    ("actor.id", "matches", "anna", True),
    ("actor.id", "matches", "^anna", False),
    ("actor.meta.level", "matches", "5", False),
    ("meta.absent", "matches", ".*", False),
    ("actor.id", "nmatches", "^bot:", True),
    ("actor.id", "nmatches", "^user:", False),
    ("meta.absent", "nmatches", ".*", True),
]


@pytest.mark.parametrize(("field", "operator", "value", "holds"), VALUES)
def test_a_condition_holds_its_field_against_a_value(
    field: str, operator: Operator, value: object, holds: bool
) -> None:
    assert Condition(field, operator, value).holds(REQUEST) is holds


def test_the_table_has_every_operator_both_ways() -> None:
    seen = {(operator, holds) for _, operator, _, holds in VALUES}
    assert seen == {(operator, holds) for operator in get_args(Operator) for holds in (True, False)}


# Field, operator, field that gives the value, whether it holds.
FIELDS: list[tuple[str, Operator, str, bool]] = [
    ("meta.owner", "eq", "actor.id", True),
    ("meta.owner", "eq", "resource", False),
    ("meta.owner", "ne", "actor.id", False),
    ("meta.amount", "lt", "actor.meta.limit", True),
    ("meta.amount", "gt", "actor.meta.limit", False),
    ("meta.amount", "lte", "actor.meta.limit", True),
    ("meta.amount", "gte", "actor.meta.limit", False),
    ("meta.amount", "lt", "actor.meta.absent", False),
    ("meta.absent", "eq", "actor.meta.absent", False),
    ("meta.absent", "ne", "actor.meta.absent", True),
    ("meta.owner", "in", "actor.meta.teams", False),
    ("meta.owner", "nin", "actor.meta.teams", True),
    ("meta.owner", "in", "actor.id", False),
    ("actor.id", "contains", "meta.owner", True),
    ("actor.id", "ncontains", "meta.owner", False),
]


@pytest.mark.parametrize(("field", "operator", "value_from", "holds"), FIELDS)
def test_a_condition_holds_its_field_against_another(
    field: str, operator: Operator, value_from: str, holds: bool
) -> None:
    assert Condition(field, operator, value_from=value_from).holds(REQUEST) is holds


@pytest.mark.parametrize(
    ("field", "operator", "holds"),
    [("actor.id", "exists", False), ("actor.meta.role", "exists", False), ("action", "exists", 1)],
)
def test_without_an_actor_its_fields_are_absent(
    field: str, operator: Operator, holds: bool
) -> None:
    assert Condition(field, operator).holds(Request(None, "a", "b")) is bool(holds)


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        (("actor.id", "equals", "x"), "operator"),
        (("actor", "eq", "x"), "field"),
        (("actor.name", "eq", "x"), "field"),
        (("meta.", "eq", "x"), "field"),
        (("meta.a..b", "eq", "x"), "field"),
        (("meta.a", "eq", None, "nobody"), "value_from"),
        (("meta.a", "eq"), "value"),
        (("meta.a", "eq", "x", "actor.id"), "value"),
        (("meta.a", "exists", "x"), "value"),
        (("meta.a", "nexists", None, "actor.id"), "value_from"),
        (("meta.a", "lt", [1]), "value"),
        (("meta.a", "gte", True), "value"),
        (("meta.a", "in", "abc"), "value"),
        (("meta.a", "nin", {"a": 1}), "value"),
        (("meta.a", "matches", 5), "value"),
        (("meta.a", "matches", "a("), "value"),
        (("meta.a", "nmatches", "(?=a)"), "value"),
        (("meta.a", "matches", None, "actor.id"), "value_from"),
    ],
)
def test_a_condition_that_means_nothing_is_refused(fields: tuple[Any, ...], part: str) -> None:
    with pytest.raises(ConditionError) as caught:
        Condition(*fields)
    assert caught.value.part == part


def test_no_pattern_takes_more_than_time_in_proportion_to_the_text() -> None:
    condition = Condition("meta.text", "matches", "^(a+)+$|^(a|a)*b$|(a*)*c")
    begun = time.perf_counter()
    assert not condition.holds(Request(None, "a", "b", {"text": "a" * 50_000 + "!"}))
    assert time.perf_counter() - begun < 2


def test_a_pattern_meets_text_that_is_no_unicode() -> None:
    assert Condition("meta.a", "matches", "x").holds(Request(None, "a", "b", {"a": "\udcffx"}))


WILDCARDS = [
    ("*", "", True),
    ("*", "anything:at.all", True),
    ("app:a", "app:a", True),
    ("app:a", "app:ab", False),
    ("app:a", "APP:A", False),
    ("app:*", "app:a", True),
    ("app:*", "app:", True),
    ("app:*", "app", False),
    ("app:*", "myapp:a", False),
    ("*:a", "app:a", True),
    ("*:a", "app:ab", False),
    ("app:*:x", "app:a:x", True),
    ("app:*:x", "app:x", False),
    ("queue.*.queue", "queue.publish.queue", True),
    ("a*a", "a", False),
    ("a*a", "aa", True),
    ("*b*", "abc", True),
    ("*b*", "ac", False),
    ("*b*b*", "abc", False),
    ("*b*b*", "abcb", True),
    ("a*b*c", "abbc", True),
    ("a*bc*bc", "abcbc", True),
    ("a*bc*bc", "abc", False),
    ("**", "", True),
    ("a?c", "abc", False),
    ("[a]", "a", False),
    ("a.c", "abc", False),
    ("", "", True),
    ("", "a", False),
]


@pytest.mark.parametrize(("pattern", "text", "matches"), WILDCARDS)
def test_a_star_is_any_text_in_actions_and_in_resources(
    pattern: str, text: str, matches: bool
) -> None:
    expected = ALLOW if matches else UNDEFINED
    assert Policy("p", ALLOW, (pattern,), ("*",)).evaluate(None, text, "r") is expected
    assert Policy("p", ALLOW, ("*",), (pattern,)).evaluate(None, "a", text) is expected


@pytest.mark.parametrize(
    ("actions", "resources", "conditions", "verdict"),
    [
        (("order.refund",), ("app:orders",), (), DENY),
        (("x", "order.refund"), ("y", "app:orders"), (), DENY),
        (("x",), ("app:orders",), (), UNDEFINED),
        (("order.refund",), ("x",), (), UNDEFINED),
        ((), ("*",), (), UNDEFINED),
        (("*",), ("*",), (Condition("actor.meta.level", "gt", 1),), DENY),
        (
            ("*",),
            ("*",),
            (Condition("actor.meta.level", "gt", 1), Condition("meta.amount", "gt", 99)),
            UNDEFINED,
        ),
    ],
)
def test_a_policy_speaks_only_when_action_resource_and_all_conditions_match(
    actions: tuple[str, ...],
    resources: tuple[str, ...],
    conditions: tuple[Condition, ...],
    verdict: Verdict,
) -> None:
    policy = Policy("p", DENY, actions, resources, conditions)
    assert policy.evaluate(ANNA, "order.refund", "app:orders", {"amount": 50}) is verdict


def says(name: str, effect: Verdict, action: str = "*") -> Policy:
    return Policy(name, effect, (action,), ("*",))


ALLOWS, DENIES, SILENT = says("a", ALLOW), says("d", DENY), says("s", ALLOW, "other")
SILENT_DENY = says("sd", DENY, "other")


@pytest.mark.parametrize(
    ("policies", "verdict"),
    [
        ((), UNDEFINED),
        ((SILENT,), UNDEFINED),
        ((SILENT, SILENT_DENY), UNDEFINED),
        ((ALLOWS,), ALLOW),
        ((DENIES,), DENY),
        ((ALLOWS, SILENT_DENY), ALLOW),
        ((ALLOWS, DENIES), DENY),
        ((DENIES, ALLOWS), DENY),
        ((SILENT, ALLOWS, says("a2", ALLOW), DENIES), DENY),
    ],
)
def test_deny_beats_allow_and_allow_beats_silence(
    policies: tuple[Policy, ...], verdict: Verdict
) -> None:
    assert Scope(policies).evaluate(ANNA, "act", "on") is verdict


def test_a_scope_is_changed_by_making_another() -> None:
    scope = Scope.of(ALLOWS)
    wider = scope.extended(DENIES)
    assert (scope.policies, wider.policies) == ((ALLOWS,), (ALLOWS, DENIES))
    assert wider.without("a").policies == (DENIES,)
    assert wider.without("none").policies == wider.policies
    assert ("a" in scope, "d" in scope, "d" in wider) == (True, False, True)


def test_a_scope_holds_one_policy_for_each_id() -> None:
    other = says("a", DENY)
    assert Scope.of(ALLOWS, ALLOWS).policies == (ALLOWS,)
    assert Scope.of(ALLOWS).extended(other).policies == (other,)
