"""Apps for the benchmarks: a host with the entries and Lua files that a case needs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gevent
from gevent.event import Event

from wippy_lua import Host
from wippy_lua.log import NullLog
from wippy_lua.lua.resolver import PythonModule

Entry = dict[str, Any]

#: Lua that makes the body of message `i`: some 80 bytes of JSON, and 54 more for each item.
BODY = """
local function body_of(i, items)
  local body = {id = i, action = "process", user = "someone@example.org", data = "0123456789abcdef"}
  if items > 0 then
    body.items = {}
    for n = 1, items do
      body.items[n] = {sku = "A-1001-blue", qty = n, price = 12.5, gift = n % 2 == 0}
    end
  end
  return body
end
"""
SMALL, LARGE = 0, 36  #: items in a body of some 80 bytes and of some 2 KB
CONCURRENCY = 4
HANDLER = "return function(body) return body.id end"
PUBLISHER = f"""
local queue = require("queue")
{BODY}
return function(first, last, items, size)
  for i = first, last, size do
    local list = {{}}
    for n = i, math.min(i + size - 1, last) do list[#list + 1] = body_of(n, items) end
    local ok, err
    if size == 1 then
      ok, err = queue.publish("bench:work", list[1])
    else
      ok, err = queue.publish_many("bench:work", list)
    end
    if not ok then return nil, err end
  end
end
"""


def driver(kind: str, **fields: Any) -> Entry:
    """Returns the entry of the driver."""
    return {"name": "driver", "kind": f"queue.driver.{kind}", **fields}


def queue(name: str = "work", **fields: Any) -> Entry:
    """Returns the entry of a queue of the driver."""
    return {"name": name, "kind": "queue.queue", "driver": "driver", **fields}


def consumer(queue: str = "work", func: str = "handler", **fields: Any) -> Entry:
    """Returns the entry of a queue's consumer."""
    entry = {"name": f"{queue}_consumer", "kind": "queue.consumer", "queue": queue, "func": func}
    return entry | {"concurrency": CONCURRENCY, "prefetch": 1000} | fields


def function(name: str, source: str, *modules: str, **fields: Any) -> Entry:
    """Returns the entry of a function."""
    entry = {"name": name, "kind": "function.lua", "source": source, "modules": list(modules)}
    return entry | fields


def body_of(number: int, items: int = SMALL) -> dict[str, object]:
    """Returns the body that BODY makes."""
    body = {"id": number, "action": "process", "user": "someone@example.org"}
    lines = [
        {"sku": "A-1001-blue", "qty": n, "price": 12.5, "gift": n % 2 == 0}
        for n in range(1, items + 1)
    ]
    return body | {"data": "0123456789abcdef"} | ({"items": lines} if items else {})


AUTO: Entry = {"lifecycle": {"auto_start": True}}


@contextmanager
def host_of(*entries: Entry, modules: Mapping[str, PythonModule] | None = None) -> Iterator[Host]:
    """Runs a host with these entries in a folder of its own."""
    with TemporaryDirectory() as folder:
        index = {"version": "1.0", "namespace": "bench", "entries": entries}
        Path(folder, "_index.yaml").write_text(json.dumps(index))
        with Host(folder, log=NullLog(), modules=modules) as host:
            yield host


def wait_until_empty(host: Host, queue: str = "bench:work") -> None:
    """Blocks until every message of a queue is settled."""
    while host.info(queue).message_count:
        gevent.sleep(0.01)


def publish_all(host: Host, count: int, publishers: int, size: int, items: int = SMALL) -> None:
    """Publishes so many messages by so many concurrent calls of the publisher."""
    share = -(-count // publishers)
    calls = [
        gevent.spawn(
            host.call, "bench:publisher", first, min(first + share, count + 1) - 1, items, size
        )
        for first in range(1, count + 1, share)
    ]
    gevent.joinall(calls, raise_error=True)


class Counter:
    """A module for handlers: they call `done(n)`, and `reached` is set at the wanted count."""

    def __init__(self, wanted: int) -> None:
        self.count = 0
        self.reached = Event()
        self._wanted = wanted

    def done(self, count: int = 1) -> None:
        """Counts."""
        self.count += count
        if self.count >= self._wanted:
            self.reached.set()
