"""A host under a mixed load for long: nothing piles up, nothing stands still, nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from tests.examples.running import ROOT, environment
from tests.failures.crash import IS_LONG, a_seed
from tests.failures.figures import Figures, Row
from tests.failures.places import Broker
from tests.failures.soak import DRIVERS
from tests.host.apps import write_app

SECONDS = float(os.environ.get("WIPPY_LUA_SOAK_SECONDS") or (3600 if IS_LONG else 180))
CONCURRENCY = 8
#: Bytes an hour by which the memory may grow, beyond what the measure itself is in doubt about.
SLOPE = 1 << 20
#: Bytes that a short run may grow by in its last half: too short a time for a slope.
GROWTH = 4 << 20
#: How many more there may be at the end than halfway: a timer or two may be due just then.
SPARE = {"files": 0, "greenlets": 4}
#: One for each worker, its funcs.call among them, and for each undertaker.
MOST_VMS = (2 * CONCURRENCY + 1) * len(DRIVERS)
#: Seconds by which the hub may be later than an idle one, in all but a thousandth of the time; or
#: once more what the idle one is, where the machine keeps that waiting for longer.
LATE_SECONDS = 0.05

APP = f"""\
- {{{{name: work_{{driver}}, kind: queue.queue, driver: {{driver}}, queue_name: {{name}},
   dead_letter: {{{{queue: dead_{{driver}}, max_attempts: 3}}}}}}}}
- {{{{name: dead_{{driver}}, kind: queue.queue, driver: {{driver}}, queue_name: {{name}}.dead}}}}
- name: consumer_{{driver}}
  kind: queue.consumer
  queue: work_{{driver}}
  func: handler
  concurrency: {CONCURRENCY}
  timeout: 300ms
  retry: {{{{initial_delay: 20ms, max_delay: 100ms}}}}
  lifecycle: {{{{auto_start: true}}}}
- name: undertaker_{{driver}}
  kind: queue.consumer
  queue: dead_{{driver}}
  func: bury
  lifecycle: {{{{auto_start: true}}}}
"""
FUNCTIONS = """\
- {name: seen, kind: store.memory}
- name: handler
  kind: function.lua
  source: file://handler.lua
  modules: [queue, funcs, store, soak]
- {name: twice, kind: function.lua, source: "return function(n) return 2 * n end"}
- {name: bury, kind: function.lua, source: file://bury.lua, modules: [queue, soak]}
"""
BURY = """\
local queue, soak = require("queue"), require("soak")
return function() soak.buried(queue.message():id()) end
"""
HANDLER = """\
local queue, funcs, store = require("queue"), require("funcs"), require("store")
local soak = require("soak")

-- Each returns true once its message is done with.
local tricks = {}

function tricks.ok()
  return true
end

function tricks.nack(message)
  return message:attempt() > 1 or not message:nack({delay = "20ms"})
end

function tricks.snooze(message)
  local seen = store.get("app:seen")
  if seen:has(message:id()) then
    return seen:delete(message:id())
  end
  seen:set(message:id(), message:attempt(), "1m")
  return not message:snooze("20ms")
end

function tricks.reject(message)
  message:reject("planned")
end

function tricks.delay(message, body)
  local id = "ok-later-" .. message:id()
  soak.expect(id)
  local child = {trick = "ok", queue = body.queue}
  assert(queue.publish(body.queue, child, nil, {id = id, delay = "50ms"}))
  return true
end

function tricks.funcs()
  return funcs.call("app:twice", 21) == 42
end

function tricks.store(message)
  local seen = store.get("app:seen")
  seen:set(message:id(), {n = 1})
  return seen:get(message:id()).n == 1 and seen:delete(message:id())
end

function tricks.error()
  error("planned")
end

function tricks.spin(message)
  while message:attempt() == 1 do end
  return true
end

return function(body)
  local message = queue.message()
  if tricks[body.trick](message, body) then
    soak.done(message:id())
  end
end
"""


def app_of(brokers: Sequence[Broker], run: str) -> str:
    drivers = "".join(
        broker.entry().replace('"broker"', f'"{broker.name}"')
        + APP.format(driver=broker.name, name=f"soak-{run}")
        for broker in brokers
    )
    return drivers + FUNCTIONS


def slope_of(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Returns the slope of the line through points, and its standard error, per hour.

    Neighbours are alike, so that minutes count and not seconds.
    """
    size = max(1, len(points) // 20)
    blocks = [points[at : at + size] for at in range(0, len(points) - size + 1, size)]
    means = [(fmean(x for x, _ in block), fmean(y for _, y in block)) for block in blocks]
    middle, level = fmean(x for x, _ in means), fmean(y for _, y in means)
    spread = sum((x - middle) ** 2 for x, _ in means)
    slope = sum((x - middle) * (y - level) for x, y in means) / spread
    rest = sum((y - level - slope * (x - middle)) ** 2 for x, y in means)
    error = (rest / (len(means) - 2) / spread) ** 0.5
    return slope * 3600, error * 3600


def grown(report: dict[str, Any], what: str) -> int:
    """Returns by how much the last half of a soak has raised a count."""
    growth: int = report["end"][what] - report["halfway"][what]
    return growth


def soak(folder: Path, seed: int) -> dict[str, Any]:
    words = (str(folder), str(SECONDS), str(seed))
    command = [sys.executable, "-m", "tests.failures.soak_process", *words]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, check=True, text=True
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def problems_of(report: dict[str, Any], slope: float) -> list[str]:
    """Returns the names of what went wrong; `slope` is bytes an hour for certain."""
    broken = {name: report[name] > 0 for name in ("left", "repeated", "misplaced")}
    broken |= {name: grown(report, name) > spare for name, spare in SPARE.items()}
    broken["vms"] = report["end"]["vms"] > MOST_VMS
    idle = report["idle_late"]
    broken["late"] = report["late"] - idle > max(LATE_SECONDS, idle)
    broken["memory"] = slope > SLOPE if IS_LONG else grown(report, "memory") > GROWTH
    return [name for name, is_broken in broken.items() if is_broken]


@pytest.mark.failures
@pytest.mark.network
@pytest.mark.timeout(SECONDS + 300)
def test_a_mixed_load_neither_piles_up_nor_stands_still_nor_loses_anything(
    request: pytest.FixtureRequest, tmp_path: Path, figures: Figures
) -> None:
    brokers = [request.getfixturevalue(f"{name}_broker") for name in DRIVERS]
    folder, seed = tmp_path / "app", a_seed()
    folder.mkdir()
    write_app(folder, app_of(brokers, str(seed)), handler=HANDLER, bury=BURY)
    report = soak(folder, seed)
    slope, error = slope_of(report["memory"])
    problems = problems_of(report, slope - 2 * error)
    remarks = [
        f"{SECONDS:g} s",
        f"{slope / SLOPE:+.1f}±{2 * error / SLOPE:.1f} MiB/h",
        f"p99.9 {report['late'] * 1000:.0f} ms late, idle {report['idle_late'] * 1000:.0f} ms",
        f"{report['end']['files']} files, {report['end']['vms']} VMs",
        f"CPU {report['cpu']:.0%}",
        f"seed {seed}",
    ]
    messages, faults = sum(report["published"].values()), report["published"]["spin"]
    word = "FAILED" if problems else "kept"
    row = Row("soak", "all", messages, faults, report["left"], report["repeated"], 0, word)
    figures.rows.append(replace(row, remarks=", ".join(remarks)))
    assert not problems, report


def test_a_slope_is_told_with_its_doubt() -> None:
    steady = [(float(n), 5.0 + (n % 2)) for n in range(200)]
    slope, error = slope_of(steady)
    assert abs(slope) <= 2 * error + 1e-9
    growing = [(float(n), 2.0 * n + (n % 3)) for n in range(200)]
    slope, error = slope_of(growing)
    assert abs(slope - 7200) <= 2 * error + 1
