"""Many letters, and a replay that is killed among them: none is lost, one at most comes twice."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import gevent
import pytest

from tests.cli.terminal import Terminal
from tests.operations.commands import on_brokers
from tests.operations.sites import Site, letters, repairing

LONG = bool(os.environ.get("WIPPY_LUA_LONG"))
#: Letters; the services that are slow to ask have fewer unless there is time.
MANY = {"sqlite": 10_000, "redis": 10_000, "amqp": 10_000 if LONG else 1_000, "sqs": 60}
KILLS = 3 if LONG else 1


@pytest.fixture
def app(broker: Site, tmp_path: Path) -> Path:
    return broker.write(tmp_path / "app")


def test_a_killed_replay_loses_nothing_and_repeats_one_at_most(broker: Site, app: Path) -> None:
    many = MANY[broker.name]
    with repairing(app) as repair:
        buried = repair.bury(*letters(many))
    words = ("dlq", "replay", "app:dead", "--app", str(app))
    for number in range(1, KILLS + 1):
        with Terminal(*words) as terminal:
            terminal.wait_for(_beyond(many * number // (KILLS + 2)))
            terminal.signal(signal.SIGKILL)
            assert terminal.finish() == -signal.SIGKILL
        _wait_for_leases(app)
    with Terminal(*words) as terminal:
        assert terminal.finish() == 0
        assert "replayed" in terminal.text
    _check_all_there(app, Counter(message.id for message in buried))


def _beyond(count: int) -> str:
    """Returns a pattern of a bar that has come further than this."""
    digits = len(str(count))
    first = int(str(count)[0])
    more = f"[{first + 1}-9]\\d{{{digits - 1}}}" if first < 9 else "$^"
    return f"(?:{more}|\\d{{{digits + 1},}})/\\d+"


def _wait_for_leases(app: Path) -> None:
    """What the killed process held comes back after its lease."""
    with repairing(app) as repair, gevent.Timeout(20):
        while repair.operations.queue("app:dead").in_flight:
            gevent.sleep(0.1)


def _check_all_there(app: Path, wanted: Counter[str]) -> None:
    with repairing(app) as repair:
        found = Counter(message.id for message, _ in repair.drain("app:tasks"))
        assert repair.drain("app:dead") == []
    assert set(found) == set(wanted)
    assert found.total() - wanted.total() <= KILLS


def test_an_interrupted_replay_gives_back_what_it_holds(tmp_path: Path) -> None:
    site = Site("sqlite", {"file": str(tmp_path / "queue.db")})
    app = site.write(tmp_path / "app")
    with repairing(app) as repair:
        repair.bury(*letters(100))
    with Terminal("dlq", "replay", "app:dead", "--rate", "20", "--app", str(app)) as terminal:
        terminal.wait_for(r"[4-9]/100")
        terminal.signal(signal.SIGINT)
        assert terminal.finish() == 1
        assert "not finished" in terminal.text
    commands = on_brokers(app)
    dead = commands.json("queue", "info", "app:dead")
    tasks = commands.json("queue", "info", "app:tasks")
    assert (dead["in_flight"], dead["ready"] + tasks["ready"]) == (0, 100)
    assert 4 <= tasks["ready"] < 50


def test_a_terminal_is_asked_before_letters_are_dropped(tmp_path: Path) -> None:
    site = Site("sqlite", {"file": str(tmp_path / "queue.db")})
    app = site.write(tmp_path / "app")
    with repairing(app) as repair:
        repair.bury(*letters(3))
    with Terminal("dlq", "drop", "app:dead", "--app", str(app)) as terminal:
        terminal.wait_for("for good")
        terminal.type("n\n")
        assert terminal.finish() == 1
    with Terminal("dlq", "drop", "app:dead", "--app", str(app)) as terminal:
        terminal.wait_for("for good")
        terminal.type("y\n")
        assert terminal.finish() == 0
        assert "dropped 3 dead letters of app:dead" in terminal.text
