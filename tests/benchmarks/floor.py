"""The floor: the tightest honest loop of the same work without the host.

Encode in Lua, a bounded queue, fixed workers, decode by msgspec and `table_from`, a bare Lua call.
No sandbox, no hook, no limits, no settlement.
"""

from __future__ import annotations

from typing import Any

import gevent
import msgspec
from gevent.queue import Queue
from lupa import lua54

from tests.benchmarks.workload import Workload

# A small encoder for flat tables, which is all that the workload has.
PUBLISHER = """
local put, size = ...
local format, concat, type = string.format, table.concat, type
local function encode(t)
  local out, n = {}, 0
  for key, value in pairs(t) do
    n = n + 1
    if type(value) == "string" then
      out[n] = '"' .. key .. '":"' .. value .. '"'
    elseif type(value) == "boolean" then
      out[n] = '"' .. key .. '":' .. tostring(value)
    else
      out[n] = '"' .. key .. '":' .. format("%.14g", value)
    end
  end
  return "{" .. concat(out, ",") .. "}"
end
return function(count)
  for i = 1, count do
    put(encode({id = i, action = "process", user = "someone@example.org", data = ("x"):rep(size)}))
  end
end
"""

HANDLER = "return function(body) return body.id end"


def run(work: Workload) -> None:
    """Publishes and handles all messages once."""
    queue: Queue[str | None] = Queue(maxsize=1000)
    publish = lua54.LuaRuntime(unpack_returned_tuples=True).execute(
        PUBLISHER, queue.put, work.padding
    )
    workers = [gevent.spawn(_work, queue) for _ in range(work.concurrency)]
    publish(work.count)
    for _ in workers:
        queue.put(None)
    gevent.joinall(workers, raise_error=True)


def _work(queue: Queue[str | None]) -> None:
    lua: Any = lua54.LuaRuntime(unpack_returned_tuples=True)
    handle, table_from, decode = lua.execute(HANDLER), lua.table_from, msgspec.json.decode
    while (body := queue.get()) is not None:
        handle(table_from(decode(body), recursive=True))
