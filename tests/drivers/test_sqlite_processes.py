"""The SQLite driver under several processes, some of which are killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import gevent
import pytest

from tests.drivers import sqlite_app
from tests.lines import lines_of
from wippy_lua.clock import SystemClock
from wippy_lua.log import NullLog
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.drivers.sqlite.driver import SqliteDriver
from wippy_lua.testing import QueueProbe
from wippy_lua.testing.probe import Patience

HOLDS = sqlite_app.PREFETCH + sqlite_app.CONCURRENCY
ROOT = Path(__file__).parents[2]


class App:
    """The app's folder, and its queue as this process sees it."""

    def __init__(self, folder: Path, queue: QueueProbe) -> None:
        self.folder = folder
        self.queue = queue

    @contextmanager
    def process(
        self, seconds: float = 0.001, end: signal.Signals = signal.SIGTERM
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Runs a host whose handler takes `seconds`; at SIGTERM it must end cleanly."""
        command = [sys.executable, "-m", "tests.drivers.sqlite_app", str(self.folder), str(seconds)]
        process = subprocess.Popen(command, cwd=ROOT, env={"PYTHONPATH": str(ROOT / "host")})
        try:
            yield process
            process.send_signal(end)
            assert process.wait(20) == (0 if end is signal.SIGTERM else -end)
        finally:
            process.kill()
            process.wait()

    def done(self) -> list[tuple[int, str]]:
        """Returns which process has handled which message, in order."""
        lines = lines_of(self.folder / "done")
        return [(int(pid), body) for pid, body in (line.split() for line in lines)]

    def has_done(self, count: int) -> bool:
        return len(self.done()) >= count

    def is_empty(self) -> bool:
        return self.queue.info().message_count == 0


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    (tmp_path / "_index.yaml").write_text(sqlite_app.INDEX)
    driver = SqliteDriver(
        tmp_path / "queue.db", SystemClock(), NullLog(), lease=sqlite_app.LEASE_SECONDS
    )
    driver.start()
    driver.declare_queue(QueueConfig("app:tasks", "app:db", "tasks"))
    yield App(tmp_path, QueueProbe(driver, "app:tasks", Patience()))
    driver.stop()


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g}s"
        gevent.sleep(0.005)


def publish(app: App, count: int) -> set[str]:
    bodies = {str(n) for n in range(count)}
    app.queue.publish(*[body.encode() for body in bodies])
    return bodies


def test_a_host_that_is_killed_again_and_again_loses_nothing(app: App) -> None:
    kills = 5
    bodies = publish(app, 2000)
    for kill in range(kills):
        with app.process(end=signal.SIGKILL):
            wait_until(partial(app.has_done, (kill + 1) * 200))
    with app.process():
        wait_until(app.is_empty)
    handled = [body for _, body in app.done()]
    assert set(handled) == bodies
    assert len(handled) - len(bodies) <= kills * HOLDS


def test_two_hosts_share_the_work_and_handle_each_message_once(app: App) -> None:
    with app.process(), app.process():
        bodies = publish(app, 1000)
        wait_until(app.is_empty)
    done = app.done()
    assert sorted(body for _, body in done) == sorted(bodies)
    assert len({pid for pid, _ in done}) == 2


def test_a_handler_of_three_leases_runs_once_with_another_host_waiting(app: App) -> None:
    count = sqlite_app.CONCURRENCY + 2  # Two wait in the buffer, longer than a lease.
    bodies = publish(app, count)
    with app.process(seconds=3 * sqlite_app.LEASE_SECONDS) as slow:
        wait_until(lambda: app.queue.info().in_flight == count)
        with app.process():
            wait_until(app.is_empty)
    assert sorted(app.done()) == sorted((slow.pid, body) for body in bodies)


def test_what_a_stopped_host_had_not_begun_is_there_at_once(app: App) -> None:
    bodies = publish(app, HOLDS)
    with app.process(seconds=0.3):
        wait_until(lambda: app.queue.info().in_flight == HOLDS)
    assert app.queue.info().ready == HOLDS - len(app.done())
    deliveries = app.queue.attach(credit=HOLDS).receive_many(HOLDS - len(app.done()))
    assert {delivery.attempt for delivery in deliveries} == {1}
    assert {d.message.body.decode() for d in deliveries} | {b for _, b in app.done()} == bodies
