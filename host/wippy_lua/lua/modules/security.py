"""Host side of the Lua module `security`.

Lua holds policies and scopes as IDs. They mean the policies that the call itself is held to, which
a Python program may have made, and those of the app.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from wippy_lua.call import Call
from wippy_lua.errors import Kind, WippyError
from wippy_lua.lua.runtime import HostFunction
from wippy_lua.security.policies import Policies
from wippy_lua.security.policy import Actor, Policy, Scope

# Evaluating is native code, which no hook interrupts: so what it looks at has a size.
MAX_NAME = 1024  #: bytes of an ID, an action or a resource
MAX_META = 65_536  #: packed bytes of facts

_encode = msgspec.msgpack.Encoder(enc_hook=repr).encode
_decode = msgspec.msgpack.decode


class SecurityModule:
    """The functions that stdlib/security.lua calls."""

    def __init__(self, policies: Policies) -> None:
        self._policies = policies

    def functions(self) -> Mapping[str, HostFunction]:
        """Returns the host functions by the names that the Lua side uses."""
        return {
            "actor": self.actor,
            "scope": self.scope,
            "can": self.can,
            "has_policy": self.has_policy,
            "group": self.group,
            "evaluate": self.evaluate,
        }

    def actor(self, call: Call) -> tuple[bytes, bytes] | None:
        """Returns the ID and the packed facts of the call's actor; nil when it has none."""
        actor = None if call.security is None else call.security.actor
        return None if actor is None else (actor.id.encode("utf-8", "replace"), _pack(actor.meta))

    def scope(self, call: Call) -> bytes | None:
        """Returns the packed IDs of the call's own scope; nil when it has none."""
        scope = _scope(call)
        return None if scope is None else _ids(scope)

    def can(self, call: Call, action: bytes, resource: bytes, meta: bytes | None = None) -> bool:
        """Tells whether the call may do something."""
        security = call.security
        if security is None:
            return True
        return security.allows(_text(action), _text(resource), _facts(meta))

    def has_policy(self, call: Call, policy: bytes) -> bool:
        """Returns true when the policy exists."""
        self._policy(call, _text(policy))
        return True

    def group(self, _call: Call, group: bytes) -> bytes:
        """Returns the packed IDs of a group's policies."""
        return _ids(self._policies.scope([_text(group)]))

    def evaluate(
        self,
        call: Call,
        policies: bytes,
        action: bytes,
        resource: bytes,
        actor: bytes | None = None,
        actor_meta: bytes | None = None,
        meta: bytes | None = None,
    ) -> bytes:
        """Returns what these policies (packed IDs) say to somebody who wants to do something."""
        scope = Scope(tuple(self._named(call, _decode(policies))))
        who = None if actor is None else Actor(_text(actor), _facts(actor_meta))
        return scope.evaluate(who, _text(action), _text(resource), _facts(meta)).value.encode()

    def _named(self, call: Call, ids: list[str]) -> Iterator[Policy]:
        return (self._policy(call, each) for each in ids)

    def _policy(self, call: Call, policy_id: str) -> Policy:
        scope = _scope(call)
        own = () if scope is None else scope.policies
        found = next((policy for policy in own if policy.id == policy_id), None)
        return found or self._policies.policy(policy_id)


def _scope(call: Call) -> Scope | None:
    return None if call.security is None else call.security.scope


def _ids(scope: Scope) -> bytes:
    return _encode([policy.id for policy in scope.policies])


def _pack(facts: Mapping[str, object]) -> bytes:
    return _encode(dict(facts))


def _facts(packed: bytes | None) -> Mapping[str, object]:
    if packed is not None and len(packed) > MAX_META:
        raise _invalid(f"meta is over {MAX_META >> 10} KiB")
    facts = {} if packed is None else _decode(packed)
    if facts == []:  # an empty Lua table is a list
        return {}
    if not isinstance(facts, dict):
        raise _invalid("meta must be a table with named fields")
    return facts


def _text(value: bytes) -> str:
    if len(value) > MAX_NAME:
        raise _invalid(f"IDs, actions and resources have at most {MAX_NAME} bytes")
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise _invalid("the text is not UTF-8") from error


def _invalid(message: str) -> WippyError:
    return WippyError(message, kind=Kind.INVALID, retryable=False)
