"""Ten consumers in one host: nine fast ones alone, and beside a slow one with a full queue."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import gevent

from tests.benchmarks.app import AUTO, BODY, Counter, consumer, driver, function, host_of, queue
from tests.benchmarks.brokers import Brokers
from tests.benchmarks.cases import Case, Scale, at_least

FAST = 9
WAITING = 1000  #: messages before the slow one
PUBLISHER = f"""
local queue = require("queue")
{BODY}
return function(id, count)
  for i = 1, count do
    local ok, err = queue.publish(id, body_of(i, 0))
    if not ok then return nil, err end
  end
end
"""
FAST_HANDLER = """
local done = require("done")
return function(body)
  if body.id % 100 == 0 then done.done(100) end
end
"""
SLOW_HANDLER = 'local time = require("time") return function(body) time.sleep("50ms") end'


@contextmanager
def cases(scale: Scale, _brokers: Brokers) -> Iterator[list[Case]]:
    """Gives the case; nothing has to be started."""
    count = scale.of(2000, least=100)
    yield [
        Case(
            "nine fast consumers beside a slow one",
            partial(_run, count, WAITING),
            partial(_run, count, 0),
            goals={"": at_least(0.85)},
        )
    ]


def _run(count: int, slow: int) -> dict[str, float]:
    """Returns the rate of the fast ones together."""
    names = [f"fast{number}" for number in range(FAST)]
    counter = Counter(count // 100 * 100 * FAST)
    with host_of(
        driver("memory"),
        *(queue(name, options={"max_length": WAITING}) for name in (*names, "slow")),
        *(consumer(name, "fast_handler", prefetch=10, **AUTO) for name in names),
        consumer("slow", "slow_handler", prefetch=10, **AUTO),
        function("fast_handler", FAST_HANDLER, "done"),
        function("slow_handler", SLOW_HANDLER, "time"),
        function("publisher", PUBLISHER, "queue"),
        modules={"done": {"done": counter.done}},
    ) as host:
        host.call("bench:publisher", "bench:slow", slow)
        begin = time.perf_counter()
        publishers = [
            gevent.spawn(host.call, "bench:publisher", f"bench:{name}", count) for name in names
        ]
        counter.reached.wait()
        seconds = time.perf_counter() - begin
        gevent.joinall(publishers, raise_error=True)
    return {"": counter.count / seconds}
