"""/healthz and /readyz: green when all is well, red with the name of what is not."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import gevent
import pytest

from tests.admin.site import Site
from tests.host.apps import Gate, make_host, wait_for
from wippy_lua import Host, WippyError
from wippy_lua.admin.health import failure_of
from wippy_lua.supervisor.state import ServiceState, Status
from wippy_lua.watchdog import BEAT_SECONDS, HubDelays

WELL = {"status": "ok", "problems": []}


def problems(site: Site, path: str = "/healthz") -> list[tuple[str, str]]:
    """Returns what is named, after a look at the status."""
    answer = site.get(path)
    named = [(each["what"], each["id"]) for each in answer.json()["problems"]]
    assert answer.status == (503 if named else 200)
    return named


def test_a_host_that_runs_is_well_and_ready(site: Site) -> None:
    for path in ("/healthz", "/readyz"):
        answer = site.get(path)
        assert (answer.status, answer.json()) == (200, WELL)
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["Cache-Control"] == "no-store"


def test_head_is_answered_without_a_body(site: Site) -> None:
    answer = site.ask("HEAD", "/healthz")
    assert (answer.status, answer.body) == (200, b"")


def test_a_host_that_starts_is_well_and_not_ready(tmp_path: Path, gate: Gate) -> None:
    entries = """\
    - {name: memory, kind: queue.driver.memory}
    - {name: tasks, kind: queue.queue, driver: memory}
    - name: slow
      kind: process.service
      process: program
      lifecycle: {auto_start: true}
    - {name: program, kind: process.lua, source: file://program.lua, modules: [gate, time]}
    - {name: work, kind: function.lua, source: "return function() end"}
    - name: worker
      kind: queue.consumer
      queue: tasks
      func: work
      lifecycle: {auto_start: true, requires: [slow]}
    """
    # Its top level runs when it is checked, with the gate open, and again when the service starts.
    program = "require('gate').wait() return function() require('time').sleep('1h') end"
    gate.let_go(1)
    host = make_host(tmp_path, entries, {"gate": gate.functions()}, program=program)
    with Site(host) as site:
        assert problems(site, "/readyz") == [
            ("driver", "app:memory"),
            ("consumer", "app:worker"),
            ("service", "app:slow"),
        ]
        starting = gevent.spawn(host.start)
        wait_for(lambda: gate.waiting)
        assert problems(site) == []
        assert problems(site, "/readyz") == [("consumer", "app:worker"), ("service", "app:slow")]
        gate.let_go(1)
        starting.get()
        assert problems(site, "/readyz") == []
        host.stop()
        assert len(problems(site, "/readyz")) == 3
        assert problems(site) == []


def test_a_consumer_that_was_stopped_on_purpose_is_not_deaf(host: Host, site: Site) -> None:
    host.stop_service("app:worker")
    assert problems(site) == []
    assert problems(site, "/readyz") == [("consumer", "app:worker")]


def test_a_paused_consumer_is_not_deaf(site: Site) -> None:
    assert site.post("/api/queues/app:tasks/pause").status == 200
    assert problems(site) == []
    assert problems(site, "/readyz") == []


def test_a_service_that_failed_for_good_is_named(tmp_path: Path) -> None:
    entries = """\
    - name: broken
      kind: process.service
      process: program
      lifecycle: {auto_start: true, restart: {max_attempts: 1, initial_delay: 1ms}}
    - {name: program, kind: process.lua, source: "return function() error('no') end"}
    """
    host = make_host(tmp_path, entries)
    with Site(host) as site, host:
        wait_for(lambda: host.services()["app:broken"].status is Status.EXITED)
        [problem] = site.get("/healthz").json()["problems"]
        assert problem == {"what": "service", "id": "app:broken", "problem": "failed for good"}


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (Status.UNKNOWN, None),
        (Status.STARTING, "restarting"),
        (Status.RUNNING, None),
        (Status.STOPPING, None),
        (Status.STOPPED, None),
        (Status.EXITED, "failed for good"),
        (Status.FAILED, "failed, to be restarted"),
    ],
)
def test_what_a_state_says_of_a_failure(status: Status, says: str | None) -> None:
    assert failure_of(ServiceState(status, WippyError("why"), 1, 0.0)) == says
    assert failure_of(ServiceState(status, None, 1, 0.0)) is None


def test_a_hub_that_stood_still_is_named(site: Site) -> None:
    gevent.sleep(BEAT_SECONDS)
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        pass
    gevent.sleep(BEAT_SECONDS)
    [problem] = site.get("/healthz").json()["problems"]
    assert problem["what"] == "hub"
    assert "stood still for 1." in problem["problem"]


def test_a_delay_is_recent_for_forty_beats() -> None:
    delays = HubDelays()
    delays.add(2.0)
    for _ in range(39):
        delays.add(-0.001)
    assert delays.recent == 2.0
    delays.add(0.01)
    assert delays.recent == 0.01
    assert delays.histogram.count == 41


def test_a_locked_queue_file_is_red_and_green_again(tmp_path: Path) -> None:
    entries = """\
    - {name: sqlite, kind: queue.driver.sqlite, file: queue.db}
    - {name: tasks, kind: queue.queue, driver: sqlite}
    - {name: work, kind: function.lua, source: "return function() end"}
    - name: worker
      kind: queue.consumer
      queue: tasks
      func: work
      lifecycle: {auto_start: true}
    """
    host = make_host(tmp_path, entries)
    with Site(host) as site, host:
        assert problems(site) == []
        other = sqlite3.connect(tmp_path / "queue.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        publishing = gevent.spawn(host.publish, "app:tasks", {"n": 1})
        wait_for(lambda: problems(site))
        assert ("driver", "app:sqlite") in problems(site)
        other.execute("ROLLBACK")
        other.close()
        publishing.get()
        wait_for(lambda: not problems(site))
        text = site.get("/metrics").body.decode()
        assert 'wippy_lua_driver_reconnects_total{driver="app:sqlite"} 1.0' in text
