"""The same work through a host: publish in Lua, handle in Lua, every message acked."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import gevent

from tests.benchmarks.workload import BODY, Workload
from wippy_lua import Host
from wippy_lua.log import NullLog

INDEX = """\
version: "1.0"
namespace: bench
entries:
  - {{name: memory, kind: queue.driver.memory}}
  - {{name: work, kind: queue.queue, driver: memory, options: {{max_length: 1000}}}}
  - name: consumer
    kind: queue.consumer
    queue: work
    func: handler
    concurrency: {concurrency}
    prefetch: 1000
    lifecycle: {{auto_start: true}}
  - name: handler
    kind: function.lua
    source: "return function(body) return body.id end"
  - name: publisher
    kind: function.lua
    source: file://publisher.lua
    modules: [queue]
"""

PUBLISHER = f"""
local queue = require("queue")
{BODY}
return function(count, items)
  for i = 1, count do
    local ok, err = queue.publish("bench:work", body_of(i, items))
    if not ok then return nil, err end
  end
end
"""


def run(work: Workload) -> float:
    """Publishes and handles all messages once; returns the seconds that took, setup excluded."""
    with TemporaryDirectory() as folder:
        Path(folder, "_index.yaml").write_text(INDEX.format(concurrency=work.concurrency))
        Path(folder, "publisher.lua").write_text(PUBLISHER)
        with Host(folder, log=NullLog()) as host:
            begin = time.perf_counter()
            host.call("bench:publisher", work.count, work.items)
            while host.info("bench:work").message_count:
                gevent.sleep(0)
            return time.perf_counter() - begin
