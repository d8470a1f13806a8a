"""Hostile and buggy Lua: it ends as it must, and nobody else pays for it."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.failures.arena import Fight, Job, Report, fight
from tests.failures.crash import IS_LONG
from tests.failures.figures import Figures, Row
from tests.failures.scripts import ENDINGS, WRAPS, read_scripts, tokens
from tests.failures.stalls import percentile
from tests.host.apps import write_app
from tests.lua.vms import MIB, attack
from wippy_lua import Host
from wippy_lua.log import Format, make_log

pytestmark = pytest.mark.once  # the processes that do it are never patched

SECONDS = 0.1 if IS_LONG else 0.05  #: deadline of a script that need not end by itself
#: Seconds after its deadline by which a call has ended: the longest time between two looks.
LATE = 2.0
MUTANTS = 2000 if IS_LONG else 150
SEED = int(os.environ.get("WIPPY_LUA_SEED", "1"))
EXCESS = 0.250  #: seconds that hostile scripts may add to the p99 delay of healthy consumers
SCRIPTS = read_scripts()


def jobs() -> dict[str, list[tuple[str, str]]]:
    """Returns what to run by test: all in each wrap, or, short, alone and half of it wrapped."""
    names = [script.name for script in SCRIPTS]
    if IS_LONG:
        return {wrap: [(name, wrap) for name in names] for wrap in WRAPS}
    wraps = [wrap for wrap in WRAPS if wrap != "alone"]
    rotated = [(name, wraps[at % len(wraps)]) for at, name in enumerate(names[::2])]
    return {"alone": [(name, "alone") for name in names], "wrapped": rotated}


def wrong(fights: Sequence[Fight], job: Sequence[tuple[str, str]]) -> list[Fight]:
    """Returns those that ended otherwise than declared, or late."""
    declared = {script.name: script.endings for script in SCRIPTS}
    endings = [declared[name] if wrap == "alone" else ENDINGS for name, wrap in job]
    return [
        fight
        for fight, allowed in zip(fights, endings, strict=True)
        if fight.ending not in allowed or fight.late > LATE
    ]


def excess(report: Report) -> float:
    """Returns by how much scripts have slowed the healthy consumers, at p99, in seconds."""
    return percentile(report.delays, 0.99) - percentile(report.control, 0.99)


def add(figures: Figures, scenario: str, report: Report, *remarks: str) -> None:
    counts = Counter(fight.ending for fight in report.fights)
    facts = [f"{count} {ending}" for ending, count in sorted(counts.items())]
    late = max(fight.late for fight in report.fights)
    facts += [f"at most {late:.2f} s late", f"neighbours' p99 {excess(report) * 1000:+.0f} ms"]
    messages, scripts = len(report.delays), len(report.fights)
    row = Row(scenario, "memory", messages, scripts, 0, 0, 0, "kept", ", ".join([*facts, *remarks]))
    figures.rows.append(row)


def test_there_are_enough_scripts_and_each_has_a_name_of_its_own() -> None:
    assert len({script.name for script in SCRIPTS}) == len(SCRIPTS) > 200
    assert all(script.endings for script in SCRIPTS)
    assert all("".join(tokens(script.text)) == script.text for script in SCRIPTS)


@pytest.mark.timeout(280)
@pytest.mark.parametrize("way", jobs())
def test_each_script_ends_as_declared_and_harms_nobody(way: str, figures: Figures) -> None:
    job = jobs()[way]
    report = fight(Job(job, seconds=SECONDS), 240)
    assert wrong(report.fights, job) == []
    assert report.escapes == []
    assert excess(report) < EXCESS
    add(figures, f"hostile, {way}", report)


@pytest.mark.timeout(600)
def test_mutated_scripts_end_and_harm_nobody(figures: Figures) -> None:
    report = fight(Job(mutants=MUTANTS, seed=SEED * 10_000, seconds=SECONDS), 560)
    late = [each for each in report.fights if each.ending not in ENDINGS or each.late > LATE]
    assert (late, report.escapes) == ([], [])
    assert excess(report) < EXCESS
    half, quarter = len(report.memory) // 2, len(report.memory) // 4
    growth = max(report.memory[-quarter:]) - max(report.memory[half:-quarter])
    if IS_LONG:  # a short one is still warming up
        assert growth < 16 * MIB
    add(figures, "hostile, mutated", report, f"RSS {growth / MIB:+.0f} MiB", f"seed {SEED}")


def test_a_handlers_globals_library_edits_and_metatables_never_reach_another_functions_calls() -> (
    None
):
    printed = attack("""
    edits = '''
    return function()
      for name in pairs(_G) do if name ~= "_G" and name ~= "pcall" then _G[name] = 1 end end
      added = 1
    end
    '''
    tries = '''
    local json, queue = require("json"), require("queue")
    local libraries = { string, table, math, os, utf8, coroutine, errors, json, queue }
    local pcall, setmetatable, rawset, pairs, ipairs = pcall, setmetatable, rawset, pairs, ipairs
    return function()
      local done = 0
      for _, library in ipairs(libraries) do
        for name in pairs(library) do
          done = done + (pcall(function() library[name] = print end) and 1 or 0)
          done = done + (pcall(rawset, library, name, print) and 1 or 0)
        end
        done = done + (pcall(setmetatable, library, {}) and 1 or 0)
      end
      assert(done == 0)
      assert(not pcall(setmetatable, errors.new("x"), {}))
      setmetatable(_G, { __index = function() return "hijacked" end, __newindex = error })
    end
    '''
    looks = '''
    return function()
      assert(added == nil and getmetatable(_G) == nil and getmetatable("") == false)
      assert(("%d"):format(1) == "1" and require("json").encode({ 1 }) == "[1]")
      assert(type(print) == "function" and errors.new("x"):message() == "x" and nothing == nil)
    end
    '''
    functions = functions_of(*(program(text, id_=name) for name, text in
                               [("a:edits", edits), ("a:tries", tries), ("a:looks", looks)]))
    for name in ["a:looks", "a:edits", "a:looks", "a:tries", "a:looks", "a:tries", "a:looks"]:
        outcome = functions.handle(Call(name), 1, b"1")
        assert outcome == Success(), (name, outcome)
    print("kept")
    """)
    assert printed == "kept"


ENDLESS_IN_C = {
    "a ring of callable tables, closed by an assignment": (
        "local mt = {} local t = setmetatable({}, mt) mt.__call = t t()"
    ),
    "a chain of 60,000 entries through weak keys": """
    local keys, order, t = {}, {}, setmetatable({}, { __mode = "k" })
    for i = 1, 60000 do keys[i], order[i] = {}, i end
    for i = 60000, 2, -1 do local j = math.random(i) order[i], order[j] = order[j], order[i] end
    for i = 1, 59999 do t[keys[order[i]]] = keys[order[i + 1]] end
    keys = keys[order[1]]
    while true do local _ = {} end
    """,
}


@pytest.mark.parametrize("text", ENDLESS_IN_C.values(), ids=ENDLESS_IN_C)
def test_what_no_hook_ends_in_c_the_watchdog_ends(text: str) -> None:
    # Two bounds that are stated in README.md: the message spends an attempt, the host a restart.
    with pytest.raises(AssertionError, match="exit 70"):
        attack(f"""
        import gevent
        from wippy_lua.watchdog import Watchdog
        Watchdog(1.0, NullLog()).start()
        gevent.sleep(0)
        handle(make_vm({f"return function() {text} end"!r}, memory=32 * MIB), seconds=5)
        """)


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_field_of_any_name_is_logged(form: Format, tmp_path: Path) -> None:
    names = ["self", "event", "msg", "method_name", "exception", "stack", "args", "level", "\\xff"]
    fields = ", ".join(f'{{["{name}"] = 1}}' for name in names)
    lua = f"""
    local logger = require("logger")
    return function()
      for _, fields in ipairs({{ {fields} }}) do logger.info("written", fields) end
    end
    """
    lines = io.StringIO()
    entry = "- {name: f, kind: function.lua, modules: [logger], source: file://f.lua}"
    write_app(tmp_path, entry, f=lua)
    with Host(tmp_path, log=make_log("info", form, lines)) as host:
        host.call("app:f")
    assert lines.getvalue().count("written") == len(names)
    assert "failed" not in lines.getvalue()
