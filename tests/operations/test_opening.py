"""An app's queues without its host: whatever else is broken, and whatever cannot be reached."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import gevent
import pytest

from tests.host.apps import make_host, wait_for
from tests.operations.sites import Repair, Site, letter, letters, repairing
from wippy_lua.errors import ConfigError, WippyError
from wippy_lua.operations.values import Selection

HEAD = "version: '1.0'\nnamespace: app\nentries:\n"


def write(folder: Path, *entries: Mapping[str, object]) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "_index.yaml").write_text(HEAD + "".join(f"- {json.dumps(e)}\n" for e in entries))
    return folder


def queue(name: str, driver: str, dead: str | None = None) -> dict[str, object]:
    dying = {} if dead is None else {"dead_letter": {"queue": dead, "max_attempts": 1}}
    return {"name": name, "kind": "queue.queue", "driver": driver, **dying}


@pytest.fixture
def sqlite(tmp_path: Path) -> dict[str, object]:
    file = str(tmp_path / "queue.db")
    return {"name": "file", "kind": "queue.driver.sqlite", "file": file}


MEMORY: dict[str, object] = {"name": "memory", "kind": "queue.driver.memory"}


@contextmanager
def opened(app: Path) -> Iterator[Repair]:
    with repairing(app) as repair:
        yield repair


def test_a_wrong_lua_file_keeps_nobody_from_repairing(
    tmp_path: Path, sqlite: dict[str, object]
) -> None:
    site = Site("sqlite", {"file": sqlite["file"]})
    app = site.write(tmp_path / "app", worker=True)
    (app / "handler.lua").write_text("this is no Lua")
    (app / "main.lua").write_text("nor is this")
    with opened(app) as repair:
        repair.bury(letter("x"))
        assert [each.done for each in repair.operations.replay("app:dead")][-1] == 1
    (app / "handler.lua").unlink()
    with opened(app) as repair:
        assert repair.bodies("app:tasks") == ["x"]


def test_a_wrong_queue_is_told_as_everywhere(tmp_path: Path) -> None:
    app = write(tmp_path / "app", queue("tasks", "nowhere"))
    with pytest.raises(ConfigError, match="nowhere"), opened(app):
        pass


def test_a_queue_in_memory_says_where_it_lives(tmp_path: Path, sqlite: dict[str, object]) -> None:
    app = write(tmp_path / "app", sqlite, MEMORY, queue("near", "file"), queue("far", "memory"))
    with opened(app) as repair:
        far, near = repair.operations.queues()
        assert near.error is None
        assert far.error is not None
        assert "run --admin" in far.error
        with pytest.raises(WippyError, match="run --admin"):
            repair.operations.purge("app:far")


@pytest.mark.network
def test_a_broker_that_is_not_there_spoils_only_its_own_queues(
    tmp_path: Path, sqlite: dict[str, object]
) -> None:
    gone = {"name": "gone", "kind": "queue.driver.redis", "url": "redis://127.0.0.1:1/0"}
    app = write(
        tmp_path / "app",
        sqlite,
        gone,
        queue("dead", "file"),
        queue("far", "gone", "dead"),
        queue("near", "file", "dead"),
    )
    with opened(app) as repair:
        statuses = {status.id: status for status in repair.operations.queues()}
        assert (statuses["app:near"].error, statuses["app:near"].ready) == (None, 0)
        assert "127.0.0.1:1" in str(statuses["app:far"].error)
        assert statuses["app:far"].ready is None
        repair.bury(letter("a", "app:far"), letter("b", "app:near"))
        last = list(repair.operations.replay("app:dead"))[-1]
        assert last.done == 1
        [(reason, count)] = last.left.items()
        assert ("app:far: " in reason, count) == (True, 1)
        assert repair.bodies("app:dead") == ["a"]


def test_letters_go_back_to_another_driver(tmp_path: Path, sqlite: dict[str, object]) -> None:
    far = {**sqlite, "name": "far", "file": str(tmp_path / "far.db")}
    app = write(tmp_path / "app", sqlite, far, queue("dead", "file"), queue("tasks", "far", "dead"))
    with opened(app) as repair:
        buried = repair.bury(*letters(250))
        last = list(repair.operations.replay("app:dead", Selection(limit=200)))[-1]
        assert last.done == 200
        assert [m.id for m, _ in repair.drain("app:tasks")] == [m.id for m in buried[:200]]
        assert repair.bodies("app:dead") == [str(n) for n in range(200, 250)]


def test_a_letter_that_its_queue_refuses_stays(tmp_path: Path, sqlite: dict[str, object]) -> None:
    far = {**sqlite, "name": "far", "file": str(tmp_path / "far.db")}
    small = {**queue("tasks", "far", "dead"), "max_message_size": 10}
    app = write(tmp_path / "app", sqlite, far, queue("dead", "file"), small)
    with opened(app) as repair:
        repair.bury(letter("x" * 11), letter("small"))
        last = list(repair.operations.replay("app:dead"))[-1]
        assert last.done == 1
        [(reason, count)] = last.left.items()
        assert ("max_message_size" in reason, count) == (True, 1)
        assert repair.bodies("app:dead") == ["x" * 11]
        assert repair.bodies("app:tasks") == ["small"]


def test_a_replay_ends_though_its_letters_die_again(tmp_path: Path) -> None:
    entries = """
        - {name: memory, kind: queue.driver.memory}
        - {name: dead, kind: queue.queue, driver: memory}
        - {name: tasks, kind: queue.queue, driver: memory,
           dead_letter: {queue: dead, max_attempts: 1}}
        - {name: handler, kind: function.lua, source: file://handler.lua}
        - {name: worker, kind: queue.consumer, queue: tasks, func: handler, concurrency: 4,
           lifecycle: {auto_start: true}}
    """
    host = make_host(tmp_path, entries, handler="return function() error('again') end")
    with host:
        repair = Repair(host.operations())
        for number in range(300):
            host.publish("app:tasks", {"n": number})
        wait_for(lambda: host.info("app:dead").ready == 300)
        with gevent.Timeout(20):
            last = list(repair.operations.replay("app:dead"))[-1]
        assert (last.done, last.total) == (300, 300)
        wait_for(lambda: host.info("app:dead").ready == 300)
