"""Where messages are kept in these tests, and host processes that share them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.examples.running import ROOT, environment
from tests.host.apps import wait_for
from tests.lines import lines_of

STOP_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Broker:
    """A driver by its kind's last word, and the fields that its entry takes."""

    name: str
    fields: Mapping[str, str]
    #: A lost host's messages come back after it; without one they come at once.
    lease: str | None = None
    #: Whether a message whose confirm was lost is sent again, and so may be stored twice.
    sends_again: bool = False

    def entry(self) -> str:
        """Returns the entry `broker` as one line of YAML."""
        lease = {} if self.lease is None else {"lease": self.lease}
        kind = f"queue.driver.{self.name}"
        return f"- {json.dumps({'name': 'broker', 'kind': kind, **self.fields, **lease})}\n"

    def overrides(self, entry: str) -> list[str]:
        """Returns the words that make a driver entry of any app one of this kind."""
        fields = {"kind": f"queue.driver.{self.name}", **self.fields}
        return [
            word for key, value in fields.items() for word in ("--set", f"{entry}.{key}={value}")
        ]


@dataclass(frozen=True, slots=True)
class Breakable:
    """A broker that can be killed and started again on its port, with what it has on the disk."""

    broker: Broker
    port: int
    #: Ends it with SIGKILL.
    kill: Callable[[], None]
    #: Ends it as an operator does.
    stop: Callable[[], None]
    #: Returns once the broker answers.
    start: Callable[[], None]
    #: Seconds after which a new queue outlives a kill.
    settling: float = 0.0

    def behind(self, port: int, **fields: str) -> Broker:
        """Returns the same broker as it is reached through another port of this machine."""
        url = self.broker.fields["url"].replace(f":{self.port}", f":{port}")
        return replace(self.broker, fields={**self.broker.fields, "url": url, **fields})


class Folder:
    """An app's folder, what its handlers wrote there, and its host processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self, name: str) -> list[str]:
        """Returns what the handlers have written to a file so far."""
        return lines_of(self.path / name)

    def notes(self) -> list[Any]:
        """Returns the values that handlers noted."""
        return [json.loads(line) for line in self.lines("notes")]

    def is_ready(self, process: subprocess.Popen[bytes]) -> bool:
        """Tells whether a host process has started everything."""
        return (self.path / f"ready-{process.pid}").exists()

    @contextmanager
    def host(self) -> Iterator[subprocess.Popen[bytes]]:
        """Runs the app; a host that is still there at the end is stopped, and must end cleanly."""
        command = [sys.executable, "-m", "tests.failures.worker", str(self.path)]
        process = subprocess.Popen(command, cwd=ROOT, env=environment())
        try:
            yield process
            if process.poll() is None:
                # Before it is ready a signal ends it as it ends any program.
                wait_for(lambda: self.is_ready(process) or process.poll(), STOP_SECONDS)
                process.send_signal(signal.SIGTERM)
                assert process.wait(STOP_SECONDS) == 0
        finally:
            process.kill()
            process.wait()

    @contextmanager
    def doomed_host(self) -> Iterator[subprocess.Popen[bytes]]:
        """Runs the app and kills it at the end."""
        with self.host() as process:
            yield process
            process.kill()
            assert process.wait(STOP_SECONDS) == -signal.SIGKILL
