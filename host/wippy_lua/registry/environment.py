"""`${env:NAME}` and `${env:NAME:-default}` in the strings of a registry."""

from __future__ import annotations

import re
from collections.abc import Mapping

OPENING = "${env:"

_REFERENCE = re.compile(r"\$\{env:([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def expand(text: str, env: Mapping[str, str]) -> tuple[str, list[str]]:
    """Returns the text with variables replaced, and what is wrong with them.

    As in a shell, the default of `:-` also stands in for a variable that is set but empty.
    """
    problems: list[str] = []

    def replace(match: re.Match[str]) -> str:
        name, has_default, default = match[1].partition(":-")
        if not _NAME.fullmatch(name):
            problems.append(f"{match[0]!r} does not name an environment variable")
        elif OPENING in default:
            problems.append(f"the default of variable {name!r} cannot hold another variable")
        elif name not in env and not has_default:
            problems.append(
                f"environment variable {name!r} is not set, "
                f"and '{OPENING}{name}}}' has no default (':-value')"
            )
        elif has_default:
            return env.get(name) or default
        return env.get(name, "")

    expanded, count = _REFERENCE.subn(replace, text)
    if count < text.count(OPENING) and not problems:
        problems.append(f"{OPENING!r} has no closing brace")
    return expanded, problems
