"""A thousand handlers that wait 100 ms each; run as a program, so that its memory is its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.app import (
    AUTO,
    PUBLISHER,
    consumer,
    driver,
    function,
    host_of,
    publish_all,
    queue,
    wait_until_empty,
)
from tests.benchmarks.cases import Case, Scale, at_least, at_most

if TYPE_CHECKING:  # the program's memory is measured
    from tests.benchmarks.brokers import Brokers

HANDLERS = 1000
HANDLER = """
local time = require("time")
return function(body)
  time.sleep("100ms")
end
"""


@contextmanager
def cases(scale: Scale, _brokers: Brokers) -> Iterator[list[Case]]:
    """Gives the case; nothing has to be started."""
    handlers = scale.of(HANDLERS, least=50)

    def ours() -> dict[str, float]:
        """Runs in a process of its own."""
        command = [sys.executable, "-m", "tests.benchmarks.sleepers", str(handlers)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        figures: dict[str, float] = json.loads(done.stdout)
        return figures

    yield [
        Case(
            f"{handlers} handlers that wait 100 ms",
            ours,
            floors={"": handlers * 10.0},
            goals={"": at_least(0.8), "RSS": at_most(200)},
            units={"RSS": "MiB"},
        )
    ]


def main() -> None:
    """Prints the rate and the memory of so many handlers, once all have their VM."""
    handlers = int(sys.argv[1])
    count = handlers * 20
    with host_of(
        driver("memory"),
        queue(options={"max_length": count + handlers}),
        consumer(concurrency=handlers, **AUTO),
        function("handler", HANDLER, "time"),
        function("publisher", PUBLISHER, "queue"),
    ) as host:
        publish_all(host, handlers, publishers=1, size=100)
        wait_until_empty(host)
        publish_all(host, count, publishers=1, size=100)
        begin, left = time.perf_counter(), host.info("bench:work").message_count or 0
        wait_until_empty(host)
        rate = left / (time.perf_counter() - begin)
        print(json.dumps({"": rate, "RSS": _memory()}))


def _memory() -> float:
    """Returns what the process holds in memory now, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
    return kib / 1024


if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()
    main()
