"""A host in a process of its own, for tests that kill it: `python -m tests.drivers.sqlite_app`.

Its handler notes each message's body in the file `done` and takes `seconds` for it.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import gevent
from gevent.event import Event

from wippy_lua import Host

LEASE_SECONDS = 1.0
CONCURRENCY = 4
PREFETCH = 16

INDEX = f"""\
version: "1.0"
namespace: app
entries:
  - {{name: db, kind: queue.driver.sqlite, file: ./queue.db, lease: {LEASE_SECONDS}}}
  - {{name: tasks, kind: queue.queue, driver: db}}
  - name: consumer
    kind: queue.consumer
    queue: tasks
    func: handler
    concurrency: {CONCURRENCY}
    prefetch: {PREFETCH}
    lifecycle: {{auto_start: true}}
  - name: handler
    kind: function.lua
    modules: [work]
    source: |
      local work = require("work")
      return function(body) return work.handle(body) end
"""


def serve(folder: Path, seconds: float) -> None:
    """Runs the app until SIGTERM."""
    done = os.open(folder / "done", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def handle(body: str) -> None:
        gevent.sleep(seconds)
        os.write(done, f"{os.getpid()} {body}\n".encode())

    ended = Event()
    gevent.signal_handler(signal.SIGTERM, ended.set)
    with Host(folder, modules={"work": {"handle": handle}}):
        ended.wait()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), float(sys.argv[2]))
