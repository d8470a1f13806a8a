"""One condition of a policy: a field, an operator, and what it is held against. Pure.

Rules that every operator keeps:

1. A field that is absent, or whose type the operator cannot use, makes the test fail; nothing is
   converted, so `1` is not `"1"` and `true` is not `1`.
2. `ne`, `nin`, `ncontains`, `nmatches` and `nexists` are the exact opposites of their
   counterparts: they hold for an absent field.
3. Two absent values are not equal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from wippy_lua.security.request import META_ROOTS, PLAIN_FIELDS, Request, is_field

Operator: TypeAlias = Literal[
    "eq", "ne", "lt", "gt", "lte", "gte", "in", "nin", "exists", "nexists", "contains",
    "ncontains", "matches", "nmatches",
]  # fmt: skip

_OPPOSITES: Mapping[str, str] = {
    "ne": "eq",
    "nin": "in",
    "nexists": "exists",
    "ncontains": "contains",
    "nmatches": "matches",
}


class ConditionError(ValueError):
    """A condition that cannot be; `part` is the name of the part that is wrong."""

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part


@dataclass(frozen=True, slots=True)
class Condition:
    """Holds `field` against a `value`, or against the field that `value_from` names.

    Making one raises ConditionError when it could not mean anything.
    """

    field: str
    operator: Operator
    value: object = None
    value_from: str | None = None
    #: What `matches` and `nmatches` search with: the value, compiled once.
    pattern: Any = dataclasses.field(init=False, compare=False, repr=False, default=None)

    def __post_init__(self) -> None:
        if self.operator not in get_args(Operator):
            raise ConditionError("operator", f"is unknown: {self.operator!r}")
        _check_field("field", self.field)
        if self.value_from is not None:
            _check_field("value_from", self.value_from)
        base = _OPPOSITES.get(self.operator, self.operator)
        _check_operands(base, self.operator, self.value, self.value_from)
        if base == "matches":
            object.__setattr__(self, "pattern", _compile(self.value))

    def holds(self, request: Request) -> bool:
        """Tells whether the condition is met."""
        base = _OPPOSITES.get(self.operator)
        wanted: object = self.pattern
        if wanted is None:
            wanted = self.value if self.value_from is None else request.look_up(self.value_from)
        met = _TESTS[base or self.operator](request.look_up(self.field), wanted)
        return met if base is None else not met


def _check_field(part: str, path: str) -> None:
    if not is_field(path):
        known = ", ".join([*PLAIN_FIELDS, *(f"{root}*" for root in META_ROOTS)])
        raise ConditionError(part, f"must be one of {known}")


def _check_operands(base: str, operator: str, value: object, value_from: str | None) -> None:
    """Raises ConditionError for operands that the operator cannot be given."""
    given = (value is not None) + (value_from is not None)
    if base == "exists":
        if given:
            part = "value" if value_from is None else "value_from"
            raise ConditionError(part, f"has no meaning for operator {operator}")
    elif base == "matches" and value_from is not None:
        # A pattern is code: it belongs to the app, not to whoever asks.
        raise ConditionError("value_from", f"cannot give the pattern of {operator}: use value")
    elif given != 1:
        raise ConditionError("value", "or value_from is needed: one of them, not both")
    elif value is not None:
        _check_value(base, operator, value)


def _check_value(base: str, operator: str, value: object) -> None:
    if base in ("lt", "gt", "lte", "gte") and not (_is_number(value) or isinstance(value, str)):
        raise ConditionError("value", f"must be a number or a string for operator {operator}")
    if base == "in" and not _is_list(value):
        raise ConditionError("value", f"must be a list for operator {operator}")
    if base == "matches" and not isinstance(value, str):
        raise ConditionError("value", f"must be a regular expression for operator {operator}")


def _compile(pattern: object) -> Any:
    # Imported here: most apps have no pattern, and the engine is a library in C++.
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(_bytes(str(pattern)), options)
    except re2.error as error:
        # Without the fragment that follows: a value from the environment stays out of messages.
        cause = error.args[0].decode("utf-8", "replace").partition(":")[0]
        raise ConditionError("value", f"is not a regular expression (RE2): {cause}") from error


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _same(left: Any, right: Any) -> bool:
    """Tells whether two values are equal, `true` and 1 being different all the way down."""
    if left is None or right is None or isinstance(left, bool) is not isinstance(right, bool):
        return False
    if _is_list(left) and _is_list(right):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    return bool(left == right)


def _comparable(left: object, right: object) -> bool:
    texts = isinstance(left, str) and isinstance(right, str)
    return texts or (_is_number(left) and _is_number(right))


def _is_in(left: object, right: Any) -> bool:
    return _is_list(right) and any(_same(left, item) for item in right)


def _contains(left: Any, right: object) -> bool:
    if isinstance(left, str):
        return isinstance(right, str) and right in left
    return _is_in(right, left)


def _found(left: object, pattern: Any) -> bool:
    return isinstance(left, str) and pattern.search(_bytes(left)) is not None


_TESTS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": _same,
    "lt": lambda left, right: _comparable(left, right) and left < right,
    "gt": lambda left, right: _comparable(left, right) and left > right,
    "lte": lambda left, right: _comparable(left, right) and left <= right,
    "gte": lambda left, right: _comparable(left, right) and left >= right,
    "in": _is_in,
    "exists": lambda left, _wanted: left is not None,
    "contains": _contains,
    "matches": _found,
}
