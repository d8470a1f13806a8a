"""Drivers and queues as the tests of the redis driver make them."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from textwrap import dedent

import gevent

from tests.drivers.redis.server import RedisServer
from wippy_lua.clock import SystemClock
from wippy_lua.log import Log, NullLog
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.drivers.redis.driver import RedisDriver
from wippy_lua.testing import QueueProbe
from wippy_lua.testing.probe import Patience

PATIENCE = Patience()
LEASE = 1.0
ROOT = Path(__file__).parents[3]
NAMES = (f"tasks{n}" for n in count(1))


def make_driver(server: RedisServer, log: Log | None = None) -> RedisDriver:
    return RedisDriver(server.url, SystemClock(), log or NullLog(), lease=LEASE)


def declare(*drivers: RedisDriver, name: str = "", **options: object) -> list[QueueProbe]:
    """Declares one queue at several drivers."""
    name = name or next(NAMES)
    for driver in drivers:
        driver.declare_queue(QueueConfig(f"app:{name}", "app:redis", name, options=options))
    return [QueueProbe(driver, f"app:{name}", PATIENCE) for driver in drivers]


def base_of(queue: QueueProbe) -> str:
    return f"wippy:{{{queue.id.removeprefix('app:')}}}"


def settle_down() -> None:
    """Lets a reader find nothing and wait on the server."""
    gevent.sleep(0.2)


def run_python(program: str) -> str:
    """Returns what a program says in a process that nobody has patched."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "host")}
    done = subprocess.run(
        [sys.executable, "-c", dedent(program)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.stdout + done.stderr
