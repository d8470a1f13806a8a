"""/metrics after real traffic, as Prometheus reads it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gevent
import gevent.event
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as _parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.admin.site import Site
from tests.examples.running import environment
from tests.host.apps import Gate, make_host, wait_for
from wippy_lua import Host
from wippy_lua.admin.survey import Survey
from wippy_lua.errors import WippyError
from wippy_lua.log import NullLog
from wippy_lua.queue.driver import QueueInfo
from wippy_lua.queue.manager import QueueManager
from wippy_lua.testing import VirtualClock

TASKS = {"queue": "app:tasks", "driver": "app:memory"}
WORKER = {"queue": "app:tasks", "consumer": "app:worker", "function": "app:handler"}

#: Without types in the package.
parse_openmetrics: Any = _parse_openmetrics

Samples = dict[str, list[tuple[Mapping[str, str], float]]]


def scrape(site: Site) -> Samples:
    answer = site.get("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    samples: Samples = {}
    for family in parse_text(answer.body.decode()):
        assert family.documentation
        for sample in family.samples:
            samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return samples


def value(samples: Samples, name: str, **labels: str) -> float:
    [found] = [value for there, value in samples[name] if labels.items() <= there.items()]
    return found


def handle_all(host: Host, *bodies: Mapping[str, Any]) -> None:
    for body in bodies:
        host.publish("app:tasks", body)
    wait_for(lambda: host.info("app:tasks").ready == 0 and host.info("app:tasks").in_flight == 0)


def test_outcomes_attempts_and_dead_letters_are_counted(host: Host, site: Site) -> None:
    handle_all(
        host,
        *({"n": n} for n in range(5)),
        {"act": "fail"},  # twice, then dead
        {"act": "reject"},
        {"act": "nack"},
        {"act": "snooze"},
        {"act": "ack, then fail"},
    )
    wait_for(lambda: host.info("app:dead").ready == 2)
    samples = scrape(site)
    handled = {labels["outcome"]: value for labels, value in samples["wippy_lua_handled_total"]}
    assert handled == {"success": 6, "failure": 2, "rejected": 1, "nacked": 1, "snoozed": 1}
    assert value(samples, "wippy_lua_attempts_total", **WORKER) == 11
    assert value(samples, "wippy_lua_retries_total", **WORKER) == 2
    assert value(samples, "wippy_lua_dead_letters_total", **WORKER) == 2
    assert value(samples, "wippy_lua_published_total", **TASKS) == 10
    assert value(samples, "wippy_lua_handler_duration_seconds_count", **WORKER) == 11
    assert value(samples, "wippy_lua_queue_delayed", **TASKS) == 2
    assert value(samples, "wippy_lua_queue_depth", **TASKS) == 2
    assert value(samples, "wippy_lua_queue_ready", queue="app:dead") == 2
    assert value(samples, "wippy_lua_queue_oldest_age_seconds", **TASKS) > 0


def test_what_runs_and_what_waits_is_shown(host: Host, site: Site, gate: Gate) -> None:
    for n in range(5):
        host.publish("app:tasks", {"n": n, "wait": True})
    wait_for(lambda: gate.waiting == 2)
    samples = scrape(site)
    assert value(samples, "wippy_lua_handlers_running", **WORKER) == 2
    assert value(samples, "wippy_lua_deliveries_buffered", **WORKER) == 3
    assert value(samples, "wippy_lua_queue_in_flight", **TASKS) == 5
    assert value(samples, "wippy_lua_consumer_connected", **WORKER) == 1
    assert value(samples, "wippy_lua_driver_connected", driver="app:memory") == 1
    assert value(samples, "wippy_lua_driver_reconnects_total", driver="app:memory") == 0
    assert value(samples, "wippy_lua_vms", function="app:handler") == 2
    assert value(samples, "wippy_lua_vm_memory_bytes", function="app:handler") > 10_000
    assert value(samples, "wippy_lua_hub_delay_max_seconds") < 1
    gate.let_go(5)


def test_durations_and_waits_fall_into_their_buckets(host: Host, site: Site) -> None:
    handle_all(host, {"n": 1, "sleep": "60ms"})
    samples = scrape(site)
    buckets = {
        labels["le"]: value
        for labels, value in samples["wippy_lua_handler_duration_seconds_bucket"]
    }
    assert (buckets["0.05"], buckets["+Inf"]) == (0, 1)
    assert list(buckets.values()) == sorted(buckets.values())
    total = value(samples, "wippy_lua_handler_duration_seconds_sum", **WORKER)
    assert 0.06 <= total < 1
    assert value(samples, "wippy_lua_queue_wait_seconds_count", **WORKER) == 1


def test_hub_delays_are_a_histogram(site: Site) -> None:
    wait_for(lambda: value(scrape(site), "wippy_lua_hub_delay_seconds_count") >= 1)


def test_a_paused_queue_is_shown(site: Site) -> None:
    site.post("/api/queues/app:tasks/pause")
    samples = scrape(site)
    assert value(samples, "wippy_lua_queue_paused", **TASKS) == 1
    assert value(samples, "wippy_lua_consumer_connected", **WORKER) == 0


def test_names_follow_the_conventions_of_prometheus(host: Host, site: Site) -> None:
    handle_all(host, {"n": 1})
    families = list(parse_text(site.get("/metrics").body.decode()))
    ours = [family for family in families if family.name.startswith("wippy_lua")]
    assert len(ours) > 20
    for family in ours:
        assert re.fullmatch(r"wippy_lua_[a-z_]+", family.name), family.name
        for sample in family.samples:
            if family.type == "counter":
                assert sample.name.endswith("_total")
            if family.type == "histogram":
                assert family.name.endswith("_seconds")
            assert set(sample.labels) <= {
                *("queue", "consumer", "function", "outcome", "driver", "le", "version")
            }


def test_openmetrics_is_spoken_to_those_who_ask_for_it(site: Site) -> None:
    answer = site.get("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    names = {family.name for family in parse_openmetrics(answer.body.decode())}
    assert "wippy_lua_handled" in names


def test_a_host_that_has_not_started_has_metrics(host: Host) -> None:
    with Site(host) as site:
        samples = scrape(site)
        assert "wippy_lua_queue_depth" not in samples
        assert value(samples, "wippy_lua_scrape_errors_total", **TASKS) == 1
        assert value(samples, "wippy_lua_driver_connected", driver="app:memory") == 0


def test_partly_stored_publishes_count_what_was_stored(tmp_path: Path) -> None:
    entries = """\
    - {name: memory, kind: queue.driver.memory}
    - {name: tasks, kind: queue.queue, driver: memory, options: {max_length: 2}}
    - {name: many, kind: function.lua, source: file://many.lua, modules: [queue]}
    """
    many = """\
    return function()
      local bodies = {{n = 1}, {n = 2}, {n = 3}}
      require("queue").publish_many("app:tasks", bodies, nil, {timeout = 0})
    end
    """
    host = make_host(tmp_path, entries, many=many)
    with host, Site(host) as site:
        host.call("app:many")
        assert host.info("app:tasks").ready == 2
        assert value(scrape(site), "wippy_lua_published_total", **TASKS) == 2


class Asked:
    """A queue manager whose queues answer when they are told to."""

    def __init__(self) -> None:
        self.answer = gevent.event.Event()
        self.asked = 0

    def __iter__(self) -> Any:
        return iter([self])

    id = "app:slow"
    connected = True

    def driver(self, _queue: str) -> Asked:
        return self

    def info(self, queue: str) -> QueueInfo:
        self.asked += 1
        self.answer.wait()
        if self.asked == 3:
            raise WippyError(f"{queue} broke")
        return QueueInfo(ready=self.asked)


def test_a_queue_that_does_not_answer_is_asked_once_at_a_time() -> None:
    manager = Asked()
    survey = Survey(manager, NullLog(), patience=0.01)  # type: ignore[arg-type]
    assert survey.take() == {}
    assert survey.take() == {}
    assert (manager.asked, survey.failures["app:slow"]) == (1, 2)
    manager.answer.set()
    gevent.sleep(0.01)
    assert survey.take() == {"app:slow": QueueInfo(ready=2)}  # not the answer to the first question
    assert survey.take() == {}
    assert survey.failures["app:slow"] == 3


def test_a_survey_of_nothing_is_empty() -> None:
    assert Survey(QueueManager(VirtualClock()), NullLog()).take() == {}


SERVE = """
import sys
sys.modules["prometheus_client"] = None
from wippy_lua import Host
from wippy_lua.log import NullLog
app = Host(sys.argv[1], log=NullLog()).admin_app()
environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/metrics", "HTTP_HOST": "localhost"}
print(app(environ, lambda status, headers: print(status))[0].decode())
"""


def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "main.lua").write_text("return 0")
    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(tmp_path)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    status, line = done.stdout.splitlines()[:2]
    assert status == "501 Not Implemented"
    assert 'pip install \\"wippy-lua[metrics]\\"' in line
