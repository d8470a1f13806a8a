"""A Lua VM with the bounded libraries, beside the native ones to compare them with."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lupa.lua54

import wippy_lua.lua

LUA = Path(wippy_lua.lua.__file__).parent / "vm"

#: Sizes that only show with large subjects, made small; applied to the sources of the matcher.
SMALL_BLOCKS = {
    b"local BLOCK = 32768": b"local BLOCK = 3",
    b"local WINDOW = 32768": b"local WINDOW = 3",
    b"local MAX_HEAD = 256": b"local MAX_HEAD = 1",
    b"local MAX_PIECES = 1024": b"local MAX_PIECES = 3",
}
SMALL_CHUNKS = {
    b"local CHUNK = 4096": b"local CHUNK = 2",
    b"local NATIVE_SORT = 8192": b"local NATIVE_SORT = 3",
}

SETUP = rb"""
local load, read = load, ...
local ticks = 0

local function part(name, ...)
  return assert(load(read(name), "=" .. name .. ".lua", "t"))(...)
end

native = {string = {}, table = {}, utf8 = utf8, os = os}
for k, v in pairs(string) do native.string[k] = v end
for k, v in pairs(table) do native.table[k] = v end

local syntax = part("pattern_syntax")
patterns = part("patterns", syntax, part("pattern_matcher", syntax))
bounded = part("bounded", part, part("later"), function() ticks = ticks + 1; on_tick() end)
for name, load_library in next, bounded.loaders do bounded[name] = load_library() end

function on_tick() end
function take_ticks() local n = ticks; ticks = 0; return n end

-- Writes a value so that equal text means equal values, types included.
local function show(value)
  if type(value) == "table" then
    local lines = {}
    for k, v in next, value do lines[#lines + 1] = show(k) .. "=" .. show(v) end
    table.sort(lines)
    return "{" .. table.concat(lines, ",") .. "}"
  end
  return (math.type(value) or type(value)) .. ":" .. tostring(value)
end

-- Calls f and writes all that came of it, errors included.
function outcome(f, ...)
  local result = table.pack(pcall(f, ...))
  local texts = {}
  for i = 1, result.n do texts[i] = show(result[i]) end
  return table.concat(texts, " ")
end

-- Calls f, which may take this many thousands of VM instructions.
function within(thousands, f, ...)
  local looks = 0
  local function look()
    looks = looks + 1
    if looks > thousands then error("too many instructions", 0) end
  end
  debug.sethook(look, "", 1000)
  local result = table.pack(pcall(f, ...))
  debug.sethook()
  assert(result[1], result[2])
  return table.unpack(result, 2, result.n)
end

-- Runs a script under a count hook that raises `seconds` of processor time after the start.
-- Gives whether it was interrupted, and the longest time in which nobody looked.
function attack(source, seconds)
  local clock, start = os.clock, os.clock()
  local seen, gap = start, 0
  local function look()
    local now = clock()
    gap, seen = math.max(gap, now - seen), now
    if now - start > seconds then error("interrupted", 0) end
  end
  on_tick = look
  local env = setmetatable({}, {__index = bounded})
  for _, name in ipairs {"setmetatable", "pairs", "ipairs", "tostring", "type", "select"} do
    env[name] = _G[name]
  end
  local script = assert(load(source, "=attack", "t", env))
  -- The last look may come when the script has ended already: that is an interruption, too.
  local ended, ok, problem = pcall(function()
    debug.sethook(look, "", 1000)
    local ok, problem = pcall(script)
    debug.sethook()
    return ok, problem
  end)
  debug.sethook()
  if not ended then ok, problem = false, ok end
  gap = math.max(gap, clock() - seen)
  on_tick = function() end
  return ok and "finished" or problem, gap
end
"""


@dataclass(frozen=True, slots=True)
class Attack:
    """What came of a script that tries to hold the VM; times are seconds of processor time."""

    end: str
    seconds: float
    longest_gap: float


class GuardedVM:
    """One Lua state; globals `native`, `bounded`, `patterns` and `outcome` are for its scripts."""

    def __init__(self, replaced: Mapping[bytes, bytes] | None = None) -> None:
        self._replaced = dict(replaced or {})
        self.used: set[bytes] = set()
        self._lua = lupa.lua54.LuaRuntime(
            encoding=None,
            register_eval=False,
            unpack_returned_tuples=True,
            max_memory=512 * 1024 * 1024,
        )
        self._load = self._lua.eval("load")
        self._load(SETUP, b"=setup", b"t")(self._read)
        self._lua.execute(b"getmetatable('').__index = bounded.string")

    def _read(self, name: bytes) -> bytes:
        source = (LUA / f"{name.decode()}.lua").read_bytes()
        for old, new in self._replaced.items():
            if old in source:
                self.used.add(old)
                source = source.replace(old, new)
        return source

    def run(self, source: str, *args: object) -> Any:
        """Runs a chunk named `script` with these arguments and gives what it returns."""
        function = self._load(source.encode("latin-1"), b"=script", b"t")
        assert not isinstance(function, tuple), function[1].decode()
        return function(*args)

    def attack(self, source: str, seconds: float = 0.2) -> Attack:
        """Runs a script until it ends or a hook ends it after this much processor time."""
        start = time.process_time()
        end, gap = self._lua.eval(b"attack")(source.encode("latin-1"), seconds)
        return Attack(end.decode("latin-1"), time.process_time() - start, gap)
