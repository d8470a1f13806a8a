"""Small apps for tests, written to a folder and started as a host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import gevent
import gevent.lock

from wippy_lua import Host

HEAD = 'version: "1.0"\nnamespace: app\nentries:\n'


def write_app(folder: Path, entries: str, **scripts: str) -> Path:
    """Writes an app of namespace `app`; `scripts` are Lua files by name without their ending."""
    (folder / "_index.yaml").write_text(HEAD + dedent(entries))
    for name, text in scripts.items():
        (folder / f"{name}.lua").write_text(dedent(text))
    return folder


def make_host(
    folder: Path,
    entries: str,
    modules: Mapping[str, Mapping[str, Callable[..., Any]]] | None = None,
    **scripts: str,
) -> Host:
    """Returns a host of a new app, not started."""
    return Host(write_app(folder, entries, **scripts), modules=modules or {})


def wait_for(condition: Callable[[], object], timeout: float = 5.0) -> None:
    """Lets other greenlets run until the condition holds; fails when it does not in time."""
    with gevent.Timeout(timeout, AssertionError(f"not within {timeout}s")):
        while not condition():
            gevent.sleep(0.001)


class Gate:
    """A Python module for handlers: they report here, and wait until the test lets them go."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.waiting = 0
        self._permits = gevent.lock.Semaphore(0)

    def functions(self) -> Mapping[str, Callable[..., Any]]:
        """Returns the module's functions."""
        return {"note": self.note, "wait": self.wait}

    def note(self, value: Any) -> bool:
        """Keeps what a handler tells."""
        self.seen.append(value)
        return True

    def wait(self) -> bool:
        """Blocks until a permit is there."""
        self.waiting += 1
        try:
            self._permits.acquire()
        finally:
            self.waiting -= 1
        return True

    def let_go(self, count: int) -> None:
        """Lets so many handlers go on."""
        for _ in range(count):
            self._permits.release()
