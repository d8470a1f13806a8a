"""Who may do what: the values that a program gives to `Host.call` and `Host.publish`."""

from wippy_lua.security.condition import Condition
from wippy_lua.security.policy import Actor, Policy, Scope, Verdict

__all__ = ["Actor", "Condition", "Policy", "Scope", "Verdict"]
