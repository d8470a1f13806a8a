"""Hostile scripts: read from `hostile/*.lua`, wrapped, and mutated."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

FOLDER = Path(__file__).parent / "hostile"

#: How a call may end; a handler that returns does no harm.
Ending: TypeAlias = Literal["harmless", "error", "timeout", "memory"]
ENDINGS: frozenset[Ending] = frozenset(("harmless", "error", "timeout", "memory"))

#: What a script is put into. `ATTACK` stands for its name, and is a function of the body.
WRAPS = {
    "alone": "return ATTACK(body)",
    "pcall": "return pcall(ATTACK, body)",
    "xpcall": "return xpcall(ATTACK, function(e) return e end, body)",
    "resume": "return coroutine.resume(coroutine.create(ATTACK), body)",
    "wrap": "return coroutine.wrap(ATTACK)(body)",
    "close": "local last <close> = setmetatable({}, {__close = function() ATTACK(body) end})",
}

#: A handler that does nothing when asked "again": the next call of the same function.
HANDLER = """\
local function ATTACK(body)
{attack}
end
return function(body)
  if body == "again" then return end
  {wrap}
end
"""


@dataclass(frozen=True, slots=True)
class Script:
    """One attack: statements that run in a handler, and how that may end."""

    name: str
    text: str
    endings: frozenset[Ending]
    wrap: str = "alone"

    @property
    def source(self) -> str:
        """The Lua of the function."""
        return HANDLER.format(attack=self.text, wrap=WRAPS[self.wrap])

    def wrapped(self, wrap: str) -> Script:
        """Returns the same attack inside something that may keep what ends it."""
        name = f"{self.name} ({wrap})"
        return replace(self, name=name, wrap=wrap, endings=ENDINGS)


_HEAD = re.compile(r"^--- ([^:\n]*)(?:: ([a-z, ]*))?\n", re.MULTILINE)


def read_scripts() -> list[Script]:
    """Returns every script; one whose head names no ending must be harmless."""
    scripts = []
    for file in sorted(FOLDER.glob("*.lua")):
        _, *parts = _HEAD.split(file.read_text())
        for name, endings, text in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            allowed = {each for each in ENDINGS if each in (endings or "harmless").split(", ")}
            scripts.append(Script(f"{file.stem}: {name}", text, frozenset(allowed)))
    return scripts


# Mutation

_TOKEN = re.compile(
    r"\"(?:\\.|[^\"\\\n])*\"|[A-Za-z_]\w*|0x[\da-fA-F]+|\d+\.?\d*(?:e[+-]?\d+)?"
    r"|\.\.\.?|[=~<>]=|<<|>>|//|::|--[^\n]*|\s+|."
)
_NUMBERS = ("0", "-1", "1 << 62", "0 / 0", "1e308", "math.mininteger", "65536", "0.5", "2000000")
_VALUES = (
    "nil",
    "{}",
    "print",
    "''",
    "('x'):rep(99999)",
    "setmetatable({}, {})",
    "coroutine.running()",
)
_FRAMES = (
    ("pcall(function()", "end)"),
    ("coroutine.wrap(function()", "end)()"),
    ("for _ = 1, 50 do", "end"),
    ("do local c <close> = setmetatable({}, {__close = function()", "end}) end"),
    ("table.sort({ 2, 1, 3 }, function()", "end)"),
    ("('xy'):gsub('.', function()", "end)"),
    ("load(function()", "end)"),
    ("setmetatable({}, {__index = function()", "end})[1] = nil"),
)


def tokens(text: str) -> list[str]:
    """Returns the tokens of Lua text, space included: joined they are the text again."""
    return _TOKEN.findall(text)


def mutate(script: Script, others: Sequence[Script], chance: random.Random) -> Script:
    """Returns a script with one to four changes at tokens; the same for the same `chance`."""
    parts = tokens(script.text)
    for _ in range(chance.randint(1, 4)):
        _change(parts, tokens(chance.choice(others).text), chance)
    text = "".join(parts)
    if chance.random() < 0.3:
        before, after = chance.choice(_FRAMES)
        text = f"{before}\n{text}\n{after}"
    if chance.random() < 0.2:
        text = f"do {text}\nend\n{chance.choice(others).text}"
    return replace(script, text=text, endings=ENDINGS, wrap=chance.choice(tuple(WRAPS)))


def _change(parts: list[str], other: Sequence[str], chance: random.Random) -> None:
    words = [at for at, part in enumerate(parts) if not part.isspace()]
    at = chance.choice(words)
    match chance.randrange(6):
        case 0:
            del parts[at]
        case 1:
            parts.insert(at, parts[chance.choice(words)] + " ")
        case 2:
            to = chance.choice(words)
            parts[at], parts[to] = parts[to], parts[at]
        case 3:
            parts[at] = chance.choice([part for part in other if not part.isspace()])
        case 4:
            numbers = [each for each in words if parts[each][0].isdigit()] or [at]
            parts[chance.choice(numbers)] = chance.choice(_NUMBERS)
        case _:
            names = [each for each in words if parts[each].isidentifier()] or [at]
            parts[chance.choice(names)] = chance.choice(_VALUES)
    if not any(not part.isspace() for part in parts):
        parts.append("return")
