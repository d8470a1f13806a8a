"""The floor: the tightest honest loop of the same work without the host.

Encode in Lua, a bounded queue, fixed workers, decode by msgspec and `table_from`, a bare Lua call.
No sandbox, no hook, no limits, no settlement.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import gevent
import msgspec
from gevent.queue import Queue
from lupa import lua54

from tests.benchmarks.workload import BODY, Workload
from wippy_lua import lua as lua_package

# The codec's own encoder, in a VM without hook or limit: there is no tighter one that is right.
PUBLISHER = f"""
local part, put, items = ...
local encode = part("codec/json_encode", part("codec/work", function() end))
{BODY}
return function(count)
  for i = 1, count do
    put(encode(body_of(i, items)))
  end
end
"""

HANDLER = "return function(body) return body.id end"


def run(work: Workload) -> None:
    """Publishes and handles all messages once."""
    queue: Queue[str | None] = Queue(maxsize=1000)
    lua = lua54.LuaRuntime(unpack_returned_tuples=True)

    def part(name: str, *arguments: object) -> Any:
        return lua.compile((files(lua_package) / f"{name}.lua").read_bytes())(*arguments)

    publish = lua.execute(PUBLISHER, part, queue.put, work.items)
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
