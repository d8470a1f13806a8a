"""What floors are made of: the host's work without the host.

A bare Lua call with the hook armed, in a VM without sandbox and limits; encoders in Lua.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import msgspec
from lupa import lua54

from tests.benchmarks.app import BODY, HANDLER
from wippy_lua import lua as lua_package

#: The hook looks at the clock as often as the host's.
HOOK = """
local must_end = ...
debug.sethook(function() if must_end() then error("ended") end end, "", 1000)
"""

#: The short encoder that people write.
PLAIN = r"""
local ESCAPES = {['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t"}

local function escape(char)
  return ESCAPES[char] or string.format("\\u%04x", char:byte())
end

local function encode(value)
  local kind = type(value)
  if kind == "string" then
    return '"' .. value:gsub('[%c"\\]', escape) .. '"'
  elseif kind ~= "table" then
    return tostring(value)
  end
  local parts = {}
  if #value > 0 then
    for i, item in ipairs(value) do
      parts[i] = encode(item)
    end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  for key, item in pairs(value) do
    parts[#parts + 1] = encode(key) .. ":" .. encode(item)
  end
  return "{" .. table.concat(parts, ",") .. "}"
end
"""

#: The codec of this project, which is about twice as fast.
OURS = """
local work = part("codec/work", function() end)
local encode = part("codec/json_encode", work, part("codec/output", work))
"""

PUBLISHER = """
return function(first, last, items)
  for i = first, last do
    put(encode(body_of(i, items)))
  end
end
"""


def lua_state() -> Any:
    """Returns a VM with the hook armed."""
    lua: Any = lua54.LuaRuntime(unpack_returned_tuples=True)
    deadline = time.monotonic() + 600
    now = time.monotonic
    lua.execute(HOOK, lambda: now() >= deadline)
    return lua


def make_handler(source: str = HANDLER) -> Callable[[bytes], object]:
    """Returns what decodes a JSON body and calls a Lua handler."""
    lua = lua_state()
    handle, table_from, decode = lua.execute(source), lua.table_from, msgspec.json.decode

    def handle_body(body: bytes) -> object:
        return handle(table_from(decode(body), recursive=True))

    return handle_body


def make_publisher(
    put: Callable[[str], object], encoder: str = PLAIN
) -> Callable[[int, int, int], None]:
    """Returns a Lua function that puts encoded bodies: from one number to another, of a size."""
    lua = lua_state()

    def part(name: str, *arguments: object) -> Any:
        return lua.compile((files(lua_package) / "vm" / f"{name}.lua").read_bytes())(*arguments)

    source = "local part, put = ...\n" + encoder + BODY + PUBLISHER
    publish: Callable[[int, int, int], None] = lua.execute(source, part, put)
    return publish
