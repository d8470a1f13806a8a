"""The real command in a process of its own, and apps for it."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Self

HOST = Path(__file__).parents[2] / "host"
COMMAND = [sys.executable, "-m", "wippy_lua"]
PATIENCE = 20.0  #: seconds after which a test gives up on a process

HEADER = 'version: "1.0"\nnamespace: app\nentries:\n'
#: One queue with one consumer whose function is `handler.lua`; the first entry is in line 4.
QUEUE = """\
- {name: memory, kind: queue.driver.memory}
- {name: dead, kind: queue.queue, driver: memory}
- {name: tasks, kind: queue.queue, driver: memory, dead_letter: {queue: dead, max_attempts: 3}}
- {name: handler, kind: function.lua, source: file://handler.lua, modules: [queue, logger]}
- name: worker
  kind: queue.consumer
  queue: tasks
  func: handler
  lifecycle: {auto_start: true, stop_timeout: 1s}
"""

PUBLISH = 'require("queue").publish("app:tasks", {n = 1})\n'


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(HOST), "PYTHONWARNINGS": "error"}


def wippy(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    return subprocess.run(
        [*COMMAND, *map(str, words)],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def app(folder: Path, entries: str = "", **files: str) -> Path:
    """Writes an app: `main="..."` becomes main.lua; returns its folder."""
    if entries:
        (folder / "_index.yaml").write_text(HEADER + entries)
    for name, text in files.items():
        (folder / f"{name}.lua").write_text(text)
    return folder


class Running:
    """The command while it runs; its standard error line by line."""

    def __init__(self, *words: str | Path, command: Sequence[str] = COMMAND) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [*command, *map(str, words)], env=environment(), stderr=subprocess.PIPE, text=True
        )
        self._queue: queue.Queue[str | None] = queue.Queue()
        assert self._process.stderr is not None
        self._thread = threading.Thread(target=self._read, args=(self._process.stderr,))
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()

    def wait_for(self, text: str) -> str:
        """Returns the next line that has the text."""
        deadline = time.monotonic() + PATIENCE
        while True:
            line = self._queue.get(timeout=deadline - time.monotonic())
            assert line is not None, f"ended without {text!r}:\n{self.output}"
            self.lines.append(line)
            if text in line:
                return line

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def finish(self) -> int:
        """Waits for the end and returns the exit status."""
        status = self._process.wait(PATIENCE)
        self._thread.join()
        while (line := self._queue.get_nowait()) is not None:
            self.lines.append(line)
        return status

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def records(self) -> list[dict[str, Any]]:
        """Returns the lines of a JSON log."""
        return [json.loads(line) for line in self.lines]

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._queue.put(line)
        self._queue.put(None)
