"""Runs examples as a user does: through the command, in a process of their own."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
COMMAND = (sys.executable, "-m", "wippy_lua")

Line = dict[str, Any]


def environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns this process's environment with the host on the path, and `env`."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "host"), **(env or {})}


def run_command(
    *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 30
) -> subprocess.CompletedProcess[str]:
    """Runs `wippy-lua` to its end, in the folder of the examples; `timeout` is seconds."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=EXAMPLES,
        env=environment(env),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def run_example(
    name: str, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 30
) -> list[Line]:
    """Runs an example until its queues are empty, and returns the lines of its log."""
    ended = run_command(
        "run", name, "--drain", "--log-format", "json", *arguments, env=env, timeout=timeout
    )
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stderr.splitlines()]


def shell(commands: str, folder: Path, timeout: float = 60) -> str:
    """Runs lines of a README in a folder and returns all their output, log lines as JSON.

    `wippy-lua` is this checkout's, whatever is installed.
    """
    command = shlex.join(COMMAND)
    # Only `run` has a log.
    function = f"""wippy-lua() {{
      if [ "$1" = run ]; then shift; {command} run --log-format json "$@"; else {command} "$@"; fi
    }}"""
    ended = subprocess.run(
        ["bash", "-e", "-c", f"{function}\n{commands}"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def log_lines(log: Path) -> list[Line]:
    """Reads a log's whole lines; a process that was killed may have left half of one."""
    return [json.loads(text) for text in log.read_text().split("\n")[:-1]]


def with_message(lines: list[Line], message: str) -> list[Line]:
    """Returns the lines that say just this."""
    return [line for line in lines if line["msg"] == message]


@contextmanager
def logged_process(
    log: Path, *command: str, env: Mapping[str, str] | None = None, cwd: Path = EXAMPLES
) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a process whose output is added to `log`, and kills it at the end if it still runs.

    A file, unlike a pipe, never makes the process wait for the test.
    """
    with (
        log.open("ab") as output,
        subprocess.Popen(
            command, cwd=cwd, env=environment(env), stdout=output, stderr=output
        ) as started,
    ):
        try:
            yield started
        finally:
            if started.poll() is None:
                started.kill()


def wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    """Blocks until the condition holds, without a hub; fails when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds}s"
        time.sleep(0.02)


@contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[str]]:
    """Starts a process with pipes, and kills it at the end if it still runs."""
    with subprocess.Popen(
        command,
        cwd=EXAMPLES,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        try:
            yield started
        finally:
            if started.poll() is None:
                started.kill()
