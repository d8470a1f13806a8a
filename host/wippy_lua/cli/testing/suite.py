"""The tests of an app: which entries they are, and whom they act as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from wippy_lua.errors import ConfigError, WippyError
from wippy_lua.registry.decode import Decoder
from wippy_lua.registry.entry import Entry
from wippy_lua.registry.kinds import SecuritySpec
from wippy_lua.registry.problem import Problem, problem_at
from wippy_lua.registry.registry import Registry
from wippy_lua.registry.tree import TreeError, from_plain
from wippy_lua.security.context import Security
from wippy_lua.security.policies import Policies


@dataclass(frozen=True, slots=True)
class Test:
    """One function to call. Without `meta.suite` its suite is its namespace."""

    __test__ = False  # for pytest, which takes classes of this name for its own

    id: str
    suite: str
    #: Whom it acts as and what it may do: `meta.security`, as a service's `lifecycle.security`.
    security: Security | None

    def matches(self, pattern: str) -> bool:
        """Tells whether a text is a part of the suite or the ID; it may have `*`, `?` and `[]`."""
        wanted = f"*{pattern.lower()}*"
        return any(fnmatchcase(name.lower(), wanted) for name in (self.suite, self.id))


def find_tests(registry: Registry, policies: Policies) -> list[Test]:
    """Returns the tests in file order; raises ConfigError for each wrong `meta.security`."""
    tests: list[Test] = []
    problems: list[Problem] = []
    for entry in registry:
        if not entry.is_test:
            continue
        try:
            security = _security(entry, policies)
        except ConfigError as error:
            problems += error.problems
        else:
            tests.append(Test(entry.id, str(entry.meta.get("suite", entry.namespace)), security))
    if problems:
        raise ConfigError(problems)
    return tests


def _security(entry: Entry, policies: Policies) -> Security | None:
    given = entry.meta.get("security", {})
    try:
        return policies.context_of(_security_spec(entry, given))
    except TreeError as error:
        raise ConfigError([_problem(entry, error.message)]) from error
    except ConfigError:
        raise
    except WippyError as error:  # a group or a policy that is not there
        raise ConfigError([_problem(entry, error.message)]) from error


def _security_spec(entry: Entry, given: object) -> SecuritySpec:
    if not isinstance(given, Mapping):
        raise ConfigError([_problem(entry, "must be a map")])
    decoder = Decoder(entry.id, entry.namespace)
    spec = decoder.struct(from_plain(given, entry.mark), SecuritySpec, "meta.security")
    if spec is None:
        raise ConfigError(decoder.problems)
    return spec


def _problem(entry: Entry, message: str) -> Problem:
    return problem_at(entry.mark, entry.id, f"meta.security: {message}")
