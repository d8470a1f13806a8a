"""The policies of an app, by ID and by group, and what they make of those who name them."""

from __future__ import annotations

from collections.abc import Iterable

from wippy_lua.errors import Kind, WippyError
from wippy_lua.log import Log
from wippy_lua.registry.configs import host_spec
from wippy_lua.registry.entry import Entry
from wippy_lua.registry.kinds import PolicySpec, SecuritySpec
from wippy_lua.registry.registry import Registry
from wippy_lua.security.context import Security
from wippy_lua.security.policy import Actor, Policy, Scope, Verdict


class Policies:
    """Every `security.policy` entry. `nobody` is the context of code that nobody answers for."""

    def __init__(self, registry: Registry, log: Log) -> None:
        self._log = log.bind(logger="security")
        self._policies: dict[str, Policy] = {}
        self._groups: dict[str, list[Policy]] = {}
        for entry in registry.find("security.policy"):
            self._add(entry)
        strict = host_spec(registry).security == "strict"
        self.nobody: Security | None = Security(None, None, self._log) if strict else None

    def policy(self, policy_id: str) -> Policy:
        """Returns the policy with this ID; raises WippyError of kind NOT_FOUND."""
        if policy_id not in self._policies:
            raise _not_found("policy", policy_id)
        return self._policies[policy_id]

    def scope(self, groups: Iterable[str], policies: Iterable[str] = ()) -> Scope:
        """Returns the policies of all these groups, and these; raises WippyError of kind
        NOT_FOUND for a name that no entry has."""
        members = [policy for group in groups for policy in self._group(group)]
        return Scope.of(*members, *map(self.policy, policies))

    def context(self, actor: Actor | None, scope: Scope | None) -> Security | None:
        """Returns the context of a call that acts so: None when it may do everything."""
        if actor is None and scope is None:
            return self.nobody
        return Security(actor, scope, self._log)

    def context_of(self, spec: SecuritySpec) -> Security | None:
        """Returns the context of a service, as its `lifecycle.security` says."""
        actor = None if spec.actor is None else Actor(spec.actor.id, spec.actor.meta)
        named = spec.groups or spec.policies
        return self.context(actor, self.scope(spec.groups, spec.policies) if named else None)

    def _add(self, entry: Entry) -> None:
        spec = entry.spec_as(PolicySpec)
        rule = spec.policy
        policy = Policy(
            entry.id, Verdict(rule.effect), rule.actions, rule.resources, spec.conditions()
        )
        self._policies[entry.id] = policy
        for group in spec.groups:
            self._groups.setdefault(group, []).append(policy)

    def _group(self, group: str) -> list[Policy]:
        if group not in self._groups:
            raise _not_found("group", group)
        return self._groups[group]


def _not_found(what: str, name: str) -> WippyError:
    return WippyError(
        f"{what} {name!r} not found", kind=Kind.NOT_FOUND, retryable=False, details={what: name}
    )
