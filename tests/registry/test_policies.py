"""Entries of kind `security.policy`, and the services that name them."""

from __future__ import annotations

import pytest

from tests.registry.apps import App
from wippy_lua.registry.kinds import PolicySpec
from wippy_lua.security.condition import Condition


def policy(rule: str) -> str:
    return f"- {{name: p, kind: security.policy, policy: {{{rule}}}}}\n"


def with_condition(condition: str) -> str:
    return policy(f"actions: x, resources: x, effect: deny, conditions: [{{{condition}}}]")


def test_a_policy_has_lists_or_single_names_and_conditions(app: App) -> None:
    app.index(
        """\
- name: p
  kind: security.policy
  groups: [staff]
  policy:
    actions: "*"
    resources: [a, b*]
    effect: allow
    conditions:
    - {field: actor.meta.level, operator: gte, value: 3}
    - {field: meta.owner, operator: eq, value_from: actor.id}
    - {field: meta.tags, operator: exists}
"""
    )
    entry = app.load().get("app:p")
    assert entry is not None
    spec = entry.spec_as(PolicySpec)
    assert (spec.groups, spec.policy.effect) == (("staff",), "allow")
    assert (spec.policy.actions, spec.policy.resources) == (("*",), ("a", "b*"))
    assert spec.conditions() == (
        Condition("actor.meta.level", "gte", 3),
        Condition("meta.owner", "eq", value_from="actor.id"),
        Condition("meta.tags", "exists"),
    )


PROBLEMS = [
    (
        policy("resources: x, effect: allow"),
        "4:44: app:p: missing field 'policy.actions'",
    ),
    (
        policy("actions: x, resources: x, effect: alow"),
        "4:79: app:p: policy.effect must be one of allow, deny, not 'alow'; did you mean 'allow'?",
    ),
    (
        policy("actions: [], resources: x, effect: allow"),
        "4:54: app:p: policy.actions must not be empty: the policy would match nothing",
    ),
    (
        policy("actions: x, resources: [x, ''], effect: allow"),
        "4:72: app:p: policy.resources[1] must not be empty",
    ),
    (
        policy("actions: x, resources: 3, effect: allow"),
        "4:68: app:p: policy.resources must be a string, not 3",
    ),
    (
        with_condition("field: action, operator: equls, value: x"),
        "4:124: app:p: policy.conditions[0].operator must be one of eq, ne, lt, gt, lte, gte, in,"
        " nin, exists, nexists, contains, ncontains, matches, nmatches, not 'equls'",
    ),
    (
        with_condition("field: actor.name, operator: eq, value: x"),
        "4:106: app:p: policy.conditions[0].field must be one of actor.id, action, resource,"
        " actor.meta.*, meta.*",
    ),
    (
        with_condition("field: action, operator: eq"),
        "4:98: app:p: policy.conditions[0].value or value_from is needed: one of them, not both",
    ),
    (
        with_condition("field: action, operator: matches, value: 'a('"),
        "4:140: app:p: policy.conditions[0].value is not a regular expression (RE2): missing )",
    ),
    (
        with_condition("field: action, operator: nmatches, value: '(?<=a)b'"),
        "4:141: app:p: policy.conditions[0].value is not a regular expression (RE2):"
        " invalid perl operator",
    ),
    (
        with_condition("field: action, operator: matches, value_from: actor.id"),
        "4:145: app:p: policy.conditions[0].value_from cannot give the pattern of matches:"
        " use value",
    ),
    (
        with_condition("field: action, operator: in, value: abc"),
        "4:135: app:p: policy.conditions[0].value must be a list for operator in",
    ),
]


@pytest.mark.parametrize(("entries", "problem"), PROBLEMS)
def test_a_policy_that_cannot_work_is_reported_with_its_place(
    app: App, entries: str, problem: str
) -> None:
    app.index(entries)
    [found] = app.errors()
    assert found == f"_index.yaml:{problem}"


def test_a_pattern_from_the_environment_is_in_no_message(app: App) -> None:
    app.index(with_condition("field: action, operator: matches, value: '${env:SECRET}'"))
    [problem] = app.errors(env={"SECRET": "hush("})
    assert "hush" not in problem


SERVICE = "- {{name: d, kind: queue.driver.memory, lifecycle: {{security: {{{}}}}}}}\n"
STAFF = (
    "- {name: p, kind: security.policy, groups: [staff],"
    " policy: {actions: x, resources: x, effect: allow}}\n"
)


def test_a_group_that_no_policy_is_in_is_a_problem(app: App) -> None:
    app.index(SERVICE.format("groups: [staf]") + STAFF)
    assert app.errors() == [
        "_index.yaml:4:72: app:d: no security.policy is in group 'staf'; did you mean 'staff'?"
    ]


def test_a_group_is_not_missed_when_its_policy_is_broken(app: App) -> None:
    app.index(SERVICE.format("groups: [staff]") + STAFF.replace("effect: allow", "effect: x"))
    [problem] = app.errors()
    assert "policy.effect must be one of" in problem


def test_a_policy_that_does_not_exist_is_a_problem(app: App) -> None:
    app.index(SERVICE.format("policies: [q]") + STAFF)
    assert app.errors() == [
        "_index.yaml:4:74: app:d: lifecycle.security.policies[0] refers to 'app:q',"
        " which does not exist; did you mean 'app:p'?"
    ]


def test_a_service_may_name_actor_group_and_policy(app: App) -> None:
    app.index(
        SERVICE.format("actor: {id: d, meta: {a: 1}}, groups: [staff], policies: [p]") + STAFF
    )
    assert "app:d" in app.load()
