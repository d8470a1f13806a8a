"""Other systems at the same work: one worker process drains a filled queue of no-op tasks.

Each has a program in `peers/` that fills its queue (`fill COUNT`), and a command that starts a
worker. The task counts and writes down the time of the first and of the last call, so that neither
start nor stop of the worker counts. Bodies are the same 80 bytes. What is not installed is left
out.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from tests.benchmarks.cases import Measure, Scale

PEERS = Path(__file__).parent / "peers"
PATIENCE = 60.0  #: seconds for a drain


class PeerFailed(Exception):
    """A system that is installed did not do the work; its words are in the message."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One system: where it runs, how much it gets to do, and how its worker starts."""

    name: str
    broker: str
    count: int
    fill: tuple[str, ...]
    work: tuple[str, ...]
    module: str = ""  #: of Python that must be there; without one, the npm package of its name

    @property
    def is_installed(self) -> bool:
        """Tells whether it can run here."""
        if self.module:
            return find_spec(self.module) is not None
        node = shutil.which("node")
        if node is None:
            return False
        look = [node, "-e", f"require.resolve({json.dumps(self.name)})"]
        return subprocess.run(look, cwd=PEERS, capture_output=True).returncode == 0

    def drain(self, url: str, count: int) -> Mapping[str, float]:
        """Fills a queue, starts a worker and returns its rate."""
        with TemporaryDirectory() as folder:
            result = Path(folder, "result.json")
            environment = os.environ | {
                "BENCH_URL": url,
                "BENCH_COUNT": str(count),
                "BENCH_QUEUE": f"bench{uuid4().hex}",
                "BENCH_RESULT": str(result),
                "PYTHONPATH": str(PEERS),
            }
            fill = subprocess.run(self.fill, env=environment, cwd=PEERS, capture_output=True)
            if fill.returncode:
                raise PeerFailed(f"it cannot fill its queue: {_end_of(fill.stderr)}")
            with Path(folder, "log").open("wb") as log:
                # A session of its own: some start processes below them.
                worker = subprocess.Popen(
                    self.work,
                    env=environment,
                    cwd=PEERS,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
                try:
                    seconds = _wait_for(result, worker, Path(folder, "log"))
                finally:
                    with suppress(ProcessLookupError):  # it may have ended by itself
                        os.killpg(worker.pid, signal.SIGKILL)
                    worker.wait()
        return {"": (count - 1) / seconds}


def _wait_for(result: Path, worker: subprocess.Popen[bytes], log: Path) -> float:
    deadline = time.monotonic() + PATIENCE
    while not result.exists():
        if worker.poll() is not None or time.monotonic() > deadline:
            raise PeerFailed(f"it did not drain its queue: {_end_of(log.read_bytes())}")
        time.sleep(0.05)
    seconds: float = json.loads(result.read_text())["seconds"]
    return seconds


def _end_of(output: bytes) -> str:
    return output.decode(errors="replace")[-500:]


def _python(name: str, broker: str, count: int, *work: str, module: str = "") -> Peer:
    app = f"{name}_app"
    words = tuple(word.format(app=app) for word in work)
    fill = (sys.executable, f"{app}.py", "fill")
    return Peer(name, broker, count, fill, (sys.executable, *words), module or name)


# What the command `dramatiq-gevent` does.
_PATCHED = "from gevent import monkey; monkey.patch_all(); from dramatiq.cli import main; main()"
_DRAMATIQ = ("-c", _PATCHED, "{app}", "-p", "1", "-t", "8")
# One task at a time: its fastest with tasks that do nothing. With gevent it does 30 or 1,100
# of them a second on RabbitMQ, from one run to the next.
_CELERY = ("-m", "celery", "-A", "{app}", "worker", "-P", "solo", "-l", "error")

ALL = (
    _python("dramatiq", "redis", 6000, *_DRAMATIQ),
    _python("celery", "redis", 2000, *_CELERY),
    _python(
        "huey",
        "redis",
        6000,
        "-m",
        "huey.bin.huey_consumer",
        "{app}.huey",
        "-k",
        "greenlet",
        "-w",
        "8",
        "-q",
    ),
    _python("rq", "redis", 300, "{app}.py", "work"),
    Peer("bullmq", "redis", 20_000, ("node", "bullmq_app.cjs", "fill"), ("node", "bullmq_app.cjs")),
    _python("dramatiq", "amqp", 6000, *_DRAMATIQ),
    _python("celery", "amqp", 2000, *_CELERY),
)


def peers_on(broker: str, url: str, scale: Scale) -> dict[str, Measure]:
    """Returns what measures each system that is installed, on a running broker."""

    def measure(peer: Peer) -> Measure:
        return lambda: peer.drain(url, scale.of(peer.count))

    return {p.name: measure(p) for p in ALL if p.broker == broker and p.is_installed}
