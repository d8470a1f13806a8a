"""`once` across processes, one of which is killed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.drivers.redis.server import RedisServer
from tests.host.apps import wait_for
from tests.lines import lines_of

ROOT = Path(__file__).parents[2]
#: Each in one of the two runs: the processes are patched in both.
KINDS = [
    pytest.param("sqlite", marks=pytest.mark.once),
    pytest.param("redis", marks=pytest.mark.network),
]

STEPS = ("began", "ended")
WORK = """
local kv = require("store").get("app:kept")
local notes, time = require("notes"), require("time")

local function work(seconds)
  notes.add("began")
  time.sleep(seconds .. "s")
  notes.add("ended")
  return notes.pid()
end

return function(seconds)
  local function fn() return work(seconds) end
  local pid, err, state = kv:once("order-7", "1h", fn, {wait = "20s"})
  if err then return nil, err end
  return state .. " " .. pid
end
"""
LEASE = 1.0
INDEX = """\
version: "1.0"
namespace: app
entries:
- {{name: kept, {store}, lease: {lease}}}
- name: work
  kind: function.lua
  modules: [notes, store, time]
  source: file://work.lua
"""


def write_app(folder: Path, store: str) -> None:
    """Writes the app; `store` is the kind of its store, and its fields."""
    (folder / "_index.yaml").write_text(INDEX.format(store=store, lease=LEASE))
    (folder / "work.lua").write_text(WORK)


class App:
    """An app that several processes run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def process(self, seconds: float, calls: int = 1) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-m", "tests.store.worker"]
        command += [str(self.folder), str(seconds), str(calls)]
        environment = {"PYTHONPATH": str(ROOT / "host")}
        with subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def notes(self) -> list[list[str]]:
        return [line.split() for line in lines_of(self.folder / "notes")]


@pytest.fixture(params=KINDS)
def app(request: pytest.FixtureRequest, tmp_path: Path) -> App:
    store = "kind: store.sqlite"
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("server")
        store = f"kind: store.redis, url: '{server.url}', prefix: '{tmp_path.name}'"
    write_app(tmp_path, store)
    return App(tmp_path)


def results_of(process: subprocess.Popen[str]) -> list[str]:
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return output.splitlines()


def test_a_function_runs_once_though_two_processes_call_it_at_once(app: App) -> None:
    with app.process(0.5, calls=10) as first, app.process(0.5, calls=10) as second:
        results = results_of(first) + results_of(second)
    pid = app.notes()[0][1]
    assert app.notes() == [[step, pid] for step in STEPS]
    assert sorted(results) == [f"done {pid}"] * 19 + [f"ran {pid}"]


def test_when_its_process_is_killed_a_function_runs_again_after_the_lease(app: App) -> None:
    with app.process(60) as first:
        wait_for(app.notes, timeout=20)
        with app.process(0) as second:
            time.sleep(2 * LEASE)  # the claim is renewed all the time
            assert second.poll() is None
            first.kill()
            killed = time.monotonic()
            assert results_of(second) == [f"ran {second.pid}"]
            assert time.monotonic() - killed < LEASE + 2
    assert app.notes() == [["began", str(first.pid)], *([s, str(second.pid)] for s in STEPS)]
