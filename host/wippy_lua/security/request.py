"""What is asked of a policy: who wants to do what, to what. Pure values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Fields that conditions may name, besides anything below the two roots.
PLAIN_FIELDS = ("actor.id", "action", "resource")
META_ROOTS = ("actor.meta.", "meta.")


@dataclass(frozen=True, slots=True)
class Actor:
    """Whom code acts as: an ID, and facts about it that conditions may ask for."""

    id: str
    meta: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """One question; `meta` are facts about the resource, or about what is to be done with it."""

    actor: Actor | None
    action: str
    resource: str
    meta: Mapping[str, object] = field(default_factory=dict)

    def look_up(self, path: str) -> object:
        """Returns the value of a field, None when it is absent; null is absent too."""
        if path == "action":
            return self.action
        if path == "resource":
            return self.resource
        if path.startswith("meta."):
            return _walk(self.meta, path.removeprefix("meta."))
        if self.actor is None:
            return None
        if path == "actor.id":
            return self.actor.id
        return _walk(self.actor.meta, path.removeprefix("actor.meta."))


def is_field(path: str) -> bool:
    """Tells whether a condition may name this field."""
    if path in PLAIN_FIELDS:
        return True
    rest = next((path.removeprefix(root) for root in META_ROOTS if path.startswith(root)), "")
    return bool(rest) and all(rest.split("."))


def _walk(value: object, path: str) -> object:
    for key in path.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(key)
    return value
