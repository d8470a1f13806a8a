"""The floor: a bare loop of the same work without the host.

Encode in Lua, a bounded queue, fixed workers, decode by msgspec and `table_from`, a bare Lua call.
No sandbox, no hook, no limits, no settlement. It comes with two encoders: `plain` is the short one
that people write, `tight` the codec's own, in a VM without hook or limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import gevent
import msgspec
from gevent.queue import Queue
from lupa import lua54

from tests.benchmarks.workload import BODY, Workload
from wippy_lua import lua as lua_package

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

TIGHT = """
local encode = part("codec/json_encode", part("codec/work", function() end))
"""

PUBLISHER = """
return function(count)
  for i = 1, count do
    put(encode(body_of(i, items)))
  end
end
"""

HANDLER = "return function(body) return body.id end"


def plain(work: Workload) -> float:
    """Publishes and handles all messages once; returns the seconds that took, setup excluded."""
    return _run(work, PLAIN)


def tight(work: Workload) -> float:
    """Does the same with the faster encoder."""
    return _run(work, TIGHT)


def _run(work: Workload, encoder: str) -> float:
    queue: Queue[str | None] = Queue(maxsize=1000)
    publish = make_publisher(encoder, queue.put, work.items)
    workers = [gevent.spawn(_work, queue) for _ in range(work.concurrency)]
    gevent.sleep(0)  # the workers build their VMs
    begin = time.perf_counter()
    publish(work.count)
    for _ in workers:
        queue.put(None)
    gevent.joinall(workers, raise_error=True)
    return time.perf_counter() - begin


def make_publisher(encoder: str, put: Callable[[str], None], items: int) -> Callable[[int], None]:
    """Returns a Lua function that puts so many encoded bodies."""
    lua = lua54.LuaRuntime(unpack_returned_tuples=True)

    def part(name: str, *arguments: object) -> Any:
        return lua.compile((files(lua_package) / "vm" / f"{name}.lua").read_bytes())(*arguments)

    source = "local part, put, items = ...\n" + encoder + BODY + PUBLISHER
    publish: Callable[[int], None] = lua.execute(source, part, put, items)
    return publish


def _work(queue: Queue[str | None]) -> None:
    lua: Any = lua54.LuaRuntime(unpack_returned_tuples=True)
    handle, table_from, decode = lua.execute(HANDLER), lua.table_from, msgspec.json.decode
    while (body := queue.get()) is not None:
        handle(table_from(decode(body), recursive=True))
