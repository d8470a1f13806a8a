"""What a call may do: who it acts as, checked before it touches a queue, a store or a function."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wippy_lua.errors import Kind, WippyError
from wippy_lua.security.policy import NO_META, Actor, Scope, Verdict

if TYPE_CHECKING:
    from wippy_lua.call import Call
    from wippy_lua.log import Log

NO_SCOPE = Scope()


@dataclass(frozen=True, slots=True)
class Security:
    """The actor and the scope of calls that are not free to do everything.

    With neither it allows nothing, which is how a strict app treats code that nobody answers for.
    """

    actor: Actor | None
    scope: Scope | None
    log: Log

    def allows(self, action: str, resource: str, meta: Mapping[str, object] = NO_META) -> bool:
        """Tells whether the scope allows it; nothing said is a no."""
        scope = self.scope or NO_SCOPE
        return scope.evaluate(self.actor, action, resource, meta) is Verdict.ALLOW

    def require(self, action: str, resource: str, call: Call | None) -> None:
        """Raises WippyError of kind INVALID, and logs a line with the actor, unless it is allowed.

        `call` is who asks, None when that is no Lua.
        """
        if self.allows(action, resource):
            return
        actor = None if self.actor is None else self.actor.id
        facts = {} if call is None else call.facts()
        self.log.warning("denied", actor=actor, action=action, resource=resource, **facts)
        raise WippyError(
            f"{actor or 'code without an actor'} is not allowed to {action} on {resource!r}",
            kind=Kind.INVALID,
            retryable=False,
            details={"action": action, "resource": resource},
        )


def check(call: Call, action: str, resource: str) -> None:
    """Raises WippyError of kind INVALID, and logs a line, unless the call may do this.

    Callers on a hot path ask `call.security is not None` first: without one all is allowed.
    """
    if call.security is not None:
        call.security.require(action, resource, call)


def check_publish(security: Security, queue: str, call: Call | None = None) -> None:
    """Raises as `check` does unless publishing is allowed at all, and to this queue."""
    security.require("queue.publish", queue, call)
    security.require("queue.publish.queue", queue, call)
