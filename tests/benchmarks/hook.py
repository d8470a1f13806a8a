"""What the preemption hook costs a handler, beside the same one with `preempt: false`.

That one is held against a VM of Lua alone. Time is the process's own: the work is computing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from lupa import lua54

from tests.benchmarks.app import function, host_of
from tests.benchmarks.brokers import Brokers
from tests.benchmarks.cases import Case, Measure, Scale, at_most

LOOP = """
return function(rounds)
  local sum = 0
  for i = 1, rounds * 1000 do sum = sum + i end
  return sum
end
"""
#: What handlers do: build a text, search it, cut it up.
STRINGS = """
return function(rounds)
  local size = 0
  for i = 1, rounds * 5 do
    local line = ("user-%d@example.org;%s;%d"):format(i, "process", i * 3)
    local name, rest = line:match("^([%w%-]+)@(.+)$")
    for word in rest:gmatch("[^;]+") do size = size + #word end
    size = size + #name:upper() + #line:gsub("e", "E")
  end
  return size
end
"""


@contextmanager
def cases(scale: Scale, _brokers: Brokers) -> Iterator[list[Case]]:
    """Gives the cases; nothing has to be started."""
    rounds = scale.of(10_000)
    trusted: dict[str, object] = {"preempt": False}
    yield [
        _case("preemption, a tight loop", partial(_ours, LOOP, rounds, {}), LOOP, rounds, 2.3),
        _case(
            "preemption, a handler of strings",
            partial(_ours, STRINGS, rounds, {}),
            STRINGS,
            rounds,
            1.3,
        ),
        Case(
            "preempt: false, a tight loop",
            partial(_ours, LOOP, rounds, trusted),
            partial(_bare, rounds),
            unit="ms",
            goals={"": at_most(1.05)},
        ),
    ]


def _case(name: str, ours: Measure, source: str, rounds: int, bound: float) -> Case:
    floor = partial(_ours, source, rounds, {"preempt": False})
    return Case(name, ours, floor, unit="ms", goals={"": at_most(bound)})


def _ours(source: str, rounds: int, limits: dict[str, object]) -> dict[str, float]:
    with host_of(function("work", source, limits=limits)) as host:
        return _time(partial(host.call, "bench:work"), rounds)


def _bare(rounds: int) -> dict[str, float]:
    lua: Any = lua54.LuaRuntime(encoding=None)
    return _time(lua.execute(LOOP), rounds)


def _time(work: Callable[[int], object], rounds: int) -> dict[str, float]:
    work(1)
    begin = time.process_time()
    work(rounds)
    return {"": (time.process_time() - begin) * 1000}
