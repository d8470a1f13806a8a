"""What the preemption hook costs a handler, beside the same Lua in a VM without one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from lupa import lua54

from tests.benchmarks.app import function, host_of
from tests.benchmarks.brokers import Brokers
from tests.benchmarks.cases import Case, Scale, at_most

LOOP = """
return function(rounds)
  local sum = 0
  for i = 1, rounds * 1000 do sum = sum + i % 7 end
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
    goals = ((LOOP, "a tight loop", 2.3), (STRINGS, "a handler of strings", 1.3))
    yield [
        *(_case(f"preemption, {what}", source, rounds, {}, bound) for source, what, bound in goals),
        _case("preempt: false, a tight loop", LOOP, rounds, {"preempt": False}, 1.05),
    ]


def _case(name: str, source: str, rounds: int, limits: dict[str, object], bound: float) -> Case:
    return Case(
        name,
        partial(_ours, source, rounds, limits),
        partial(_bare, source, rounds),
        unit="ms",
        goals={"": at_most(bound)},
    )


def _ours(source: str, rounds: int, limits: dict[str, object]) -> dict[str, float]:
    with host_of(function("work", source, limits=limits)) as host:
        return _time(partial(host.call, "bench:work"), rounds)


def _bare(source: str, rounds: int) -> dict[str, float]:
    lua: Any = lua54.LuaRuntime(encoding=None)
    return _time(lua.execute(source), rounds)


def _time(work: Callable[[int], object], rounds: int) -> dict[str, float]:
    work(1)
    begin = time.process_time()
    work(rounds)
    return {"": (time.process_time() - begin) * 1000}
