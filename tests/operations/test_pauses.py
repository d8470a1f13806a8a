"""Pausing: consumers take nothing, lose nothing and stay up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from tests.host.apps import Gate, make_host, wait_for
from tests.operations.sites import Site
from wippy_lua import Host
from wippy_lua.errors import WippyError
from wippy_lua.operations.opening import open_queues
from wippy_lua.supervisor.state import Status

WORKER = "app:worker"
HANDLER = """
local gate, queue = require("gate"), require("queue")
return function(body)
  gate.note(queue.message():attempt())
  gate.wait()
end
"""


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def host(site: Site, gate: Gate, tmp_path: Path) -> Iterator[Host]:
    folder = site.write(tmp_path / "app", worker=True)
    entries = (folder / "_index.yaml").read_text().replace('"logger"', '"gate", "queue"')
    entries = entries.partition("entries:\n")[2].replace(
        '"tasks", "func"', '"tasks", "prefetch": 3, "func"'
    )
    host = make_host(folder, entries, {"gate": gate.functions()}, handler=HANDLER)
    with host:
        yield host


def publish(host: Host, count: int) -> None:
    for number in range(count):
        host.publish("app:tasks", {"n": number})


def shows(host: Host, **facts: Any) -> bool:
    status = host.operations().queue("app:tasks")
    return all(getattr(status, name) in (value, None) for name, value in facts.items())


def test_a_paused_queue_is_left_alone_until_it_is_resumed(host: Host, gate: Gate) -> None:
    publish(host, 5)
    wait_for(lambda: gate.waiting == 1)
    wait_for(lambda: shows(host, in_flight=4, ready=1))
    host.operations().pause("app:tasks")
    host.operations().pause("app:tasks")
    assert shows(host, paused=True)
    # What was only buffered went back, what runs goes on to its end.
    wait_for(lambda: shows(host, in_flight=1, ready=4), timeout=15)
    gate.let_go(100)
    wait_for(lambda: shows(host, in_flight=0, ready=4, consumers=0), timeout=15)
    publish(host, 1)
    wait_for(lambda: shows(host, ready=5), timeout=15)
    assert gate.seen == [1]
    assert host.services()[WORKER].status is Status.RUNNING
    host.operations().resume("app:tasks")
    host.operations().resume("app:tasks")
    wait_for(lambda: len(gate.seen) == 6, timeout=15)
    wait_for(lambda: shows(host, ready=0, in_flight=0, paused=False), timeout=15)
    assert gate.seen == [1] * 6  # giving them back spent no attempt


def test_a_service_that_starts_again_is_still_paused(host: Host, gate: Gate) -> None:
    gate.let_go(100)
    host.operations().pause("app:tasks")
    host.stop_service(WORKER)
    assert shows(host, paused=True)
    host.start_service(WORKER)
    publish(host, 2)
    gevent.sleep(0.1)
    assert (gate.seen, host.services()[WORKER].status) == ([], Status.RUNNING)
    host.operations().resume("app:tasks")
    wait_for(lambda: gate.seen == [1, 1], timeout=15)


def test_a_service_that_is_stopped_when_it_is_resumed_takes_nothing(host: Host, gate: Gate) -> None:
    gate.let_go(100)
    host.operations().pause("app:tasks")
    host.stop_service(WORKER)
    host.operations().resume("app:tasks")
    publish(host, 1)
    gevent.sleep(0.1)
    assert gate.seen == []
    host.start_service(WORKER)
    wait_for(lambda: gate.seen == [1], timeout=15)


def test_pauses_and_resumes_from_many_sides_agree_in_the_end(host: Host, gate: Gate) -> None:
    gate.let_go(100)
    operations = host.operations()
    verbs = [operations.pause, operations.resume] * 5
    gevent.joinall([gevent.spawn(verb, "app:tasks") for verb in verbs], raise_error=True)
    operations.resume("app:tasks")
    publish(host, 1)
    wait_for(lambda: gate.seen == [1], timeout=15)
    operations.pause("app:tasks")
    wait_for(lambda: shows(host, consumers=0), timeout=15)


def test_a_consumer_that_comes_later_is_paused_too(tmp_path: Path) -> None:
    main = """
        local queue = require("queue")
        local function take() require("gate").note(1) end
        local function main()
          queue.declare("app:tasks")
          require("gate").wait()
          queue.consume("app:tasks", take)
        end
        return {main = main, take = take}
    """
    gate = Gate()
    host = make_host(tmp_path, "", {"gate": gate.functions()}, main=main)
    with host:
        program = gevent.spawn(host.run_main)
        wait_for(lambda: gate.waiting == 1)
        host.operations().pause("app:tasks")
        gate.let_go(1)
        program.get(timeout=10)
        host.publish("app:tasks", {"n": 1})
        gevent.sleep(0.05)
        assert gate.seen == []
        host.operations().resume("app:tasks")
        wait_for(lambda: gate.seen == [1])


def test_without_a_host_there_is_nothing_to_pause(tmp_path: Path) -> None:
    from wippy_lua.clock import SystemClock
    from wippy_lua.log import NullLog

    app = Site("sqlite", {"file": str(tmp_path / "q.db")}).write(tmp_path / "app")
    opened = open_queues(app, env={}, overrides=(), clock=SystemClock(), log=NullLog())
    with opened as operations:
        for verb in (operations.pause, operations.resume):
            with pytest.raises(WippyError, match="--admin"):
                verb("app:tasks")
