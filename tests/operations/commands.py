"""The command line in this process, on an app's brokers or through its running host."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner

from tests.cli.command import Running
from wippy_lua.cli.commands import cli
from wippy_lua.cli.signals import Signals


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.out)


@dataclass(frozen=True, slots=True)
class Commands:
    """Runs commands for one app; `place` are the words that say where they work."""

    place: Sequence[str]

    def run(self, *words: str, given: str | bytes | None = None) -> Done:
        """Runs a command to its end."""
        result = CliRunner().invoke(cli, [*words, *self.place], input=given, obj=Signals())
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Done(result.exit_code, result.stdout, result.stderr)

    def json(self, *words: str, status: int = 0, given: str | None = None) -> Any:
        """Runs a command that prints JSON, and returns it."""
        done = self.run(*words, "--json", given=given)
        assert done.status == status, (words, done)
        return done.json


def on_brokers(app: Path) -> Commands:
    return Commands(["--app", str(app)])


@contextmanager
def running(app: Path, *words: str) -> Iterator[Running]:
    """Runs the app's host in a process of its own."""
    with Running("run", str(app), *words) as host:
        yield host


@contextmanager
def through_host(app: Path) -> Iterator[Commands]:
    """Runs the app's host, and the commands through it."""
    with running(app, "--admin", "127.0.0.1:0") as host:
        found = re.search(r"http://127\.0\.0\.1:\d+", host.wait_for("admin server at"))
        assert found is not None
        host.wait_for("service started")
        yield Commands(["--admin", found[0].removeprefix("http://")])
