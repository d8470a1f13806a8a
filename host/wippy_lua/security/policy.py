"""Policies and scopes: may this actor do this to that? Pure, so that a table can test it all.

Deny beats allow. A policy that says nothing is UNDEFINED, and whoever asks takes that for a no.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from wippy_lua.security.condition import Condition
from wippy_lua.security.request import Actor as Actor  # for who need not know how it is asked
from wippy_lua.security.request import Request


class Verdict(StrEnum):
    """What a policy or a scope says; Lua gets the values."""

    ALLOW = "allow"
    DENY = "deny"
    UNDEFINED = "undefined"


NO_META: Mapping[str, object] = {}


@dataclass(frozen=True, slots=True)
class Policy:
    """Says `effect`, ALLOW or DENY, to what it matches, and nothing to all else.

    It matches when one of `actions`, one of `resources` and every condition do. `*` in a pattern
    is any text, none included; everything else stands for itself.
    """

    id: str
    effect: Verdict
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[Condition, ...] = ()

    def evaluate(
        self,
        actor: Actor | None,
        action: str,
        resource: str,
        meta: Mapping[str, object] = NO_META,
    ) -> Verdict:
        """Returns the policy's effect where it matches, else UNDEFINED."""
        return self.answer(Request(actor, action, resource, meta))

    def answer(self, request: Request) -> Verdict:
        """Returns what `evaluate` does, for a request that is there already."""
        if (
            _any_matches(self.actions, request.action)
            and _any_matches(self.resources, request.resource)
            and all(condition.holds(request) for condition in self.conditions)
        ):
            return self.effect
        return Verdict.UNDEFINED


@dataclass(frozen=True, slots=True)
class Scope:
    """A set of policies, by ID; what is added to it is in the scope that comes back."""

    policies: tuple[Policy, ...] = ()

    @classmethod
    def of(cls, *policies: Policy) -> Scope:
        """Returns the scope of these policies; of two with one ID the last counts."""
        return cls(tuple({policy.id: policy for policy in policies}.values()))

    def extended(self, policy: Policy) -> Scope:
        """Returns this scope with one more policy."""
        return Scope.of(*self.policies, policy)

    def without(self, policy_id: str) -> Scope:
        """Returns this scope without a policy."""
        return Scope(tuple(policy for policy in self.policies if policy.id != policy_id))

    def __contains__(self, policy_id: object) -> bool:
        return any(policy.id == policy_id for policy in self.policies)

    def evaluate(
        self,
        actor: Actor | None,
        action: str,
        resource: str,
        meta: Mapping[str, object] = NO_META,
    ) -> Verdict:
        """Returns DENY when any policy denies, else ALLOW when any allows, else UNDEFINED."""
        request = Request(actor, action, resource, meta)
        verdicts = {policy.answer(request) for policy in self.policies}
        if Verdict.DENY in verdicts:
            return Verdict.DENY
        return Verdict.ALLOW if Verdict.ALLOW in verdicts else Verdict.UNDEFINED


def _any_matches(patterns: tuple[str, ...], text: str) -> bool:
    return any(_matches(pattern, text) for pattern in patterns)


def _matches(pattern: str, text: str) -> bool:
    """Finds the pieces between the wildcards from left to right: each where it comes first."""
    head, *pieces = pattern.split("*")
    if not pieces:
        return pattern == text
    tail = pieces.pop()
    position, end = len(head), len(text) - len(tail)
    if position > end or not (text.startswith(head) and text.endswith(tail)):
        return False
    for piece in pieces:
        found = text.find(piece, position, end)
        if found < 0:
            return False
        position = found + len(piece)
    return True
