"""Completion: the protocol that shells speak, and bash itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import COMMAND, PATIENCE, QUEUE, app, environment, wippy

pytestmark = pytest.mark.once  # its apps are processes of their own

VARIABLE = "_WIPPY_LUA_COMPLETE"
#: How a shell asks, apart from the line.
PROTOCOLS = {"zsh": "zsh_complete", "fish": "fish_complete"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return app(tmp_path, QUEUE)


def ask(shell: str, *words: str, cwd: Path) -> list[str]:
    """Returns the values that the last of the words could become."""
    place = str(len(words)) if shell == "zsh" else words[-1]
    line = {"COMP_WORDS": " ".join(["wippy-lua", *words]), "COMP_CWORD": place}
    done = subprocess.run(
        COMMAND,
        cwd=cwd,
        env={**environment(), **line, VARIABLE: PROTOCOLS[shell]},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    lines = done.stdout.splitlines()
    if shell == "zsh":
        return lines[1::3]
    return [line.partition(",")[2] for line in lines if line]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_queues_come_from_the_app(folder: Path, shell: str) -> None:
    assert ask(shell, "queue", "info", "app:", cwd=folder) == ["app:dead", "app:tasks"]


def test_the_app_may_be_elsewhere(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    words = ("dlq", "replay", "--app", str(folder), "app:t")
    assert ask("zsh", *words, cwd=elsewhere) == ["app:tasks"]
    assert ask("zsh", "dlq", "replay", "app:t", cwd=elsewhere) == []


def test_an_app_that_is_wrong_offers_nothing(tmp_path: Path) -> None:
    (tmp_path / "_index.yaml").write_text("{")
    assert ask("fish", "queue", "purge", "a", cwd=tmp_path) == []


def test_headers_are_offered_with_their_equals_sign(folder: Path) -> None:
    words = ("queue", "publish", "app:tasks", "x", "--header", "corr")
    assert ask("zsh", *words, cwd=folder) == ["correlation_id="]
    match = ("dlq", "replay", "app:dead", "--match", "x_error")
    assert ask("zsh", *match, cwd=folder) == ["x_error_kind="]


@pytest.mark.parametrize(
    ("shell", "mark"), [("bash", "complete -o nosort"), ("zsh", "#compdef"), ("fish", "complete ")]
)
def test_a_script_for_each_shell(shell: str, mark: str) -> None:
    done = wippy("completion", shell)
    assert (done.returncode, mark in done.stdout, VARIABLE in done.stdout) == (0, True, True)


def test_another_shell_is_misuse() -> None:
    assert wippy("completion", "cmd").returncode == 2


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("wippy-lua queue in", ["info"]),
        ("wippy-lua queue info app:ta", ["tasks"]),  # bash has a word of its own after a colon
        ("wippy-lua queue info ", ["app:dead", "app:tasks"]),
        ("wippy-lua dlq replay app:dead --match x_dead", ["x_dead_letter_reason="]),
    ],
)
def test_bash_completes_what_has_colons(folder: Path, line: str, offered: list[str]) -> None:
    command = folder / "bin" / "wippy-lua"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m wippy_lua "$@"\n')
    command.chmod(0o755)
    script = (
        'eval "$(wippy-lua completion bash)"\n'
        "compopt() { :; }\n"  # works only while bash itself completes
        'COMP_LINE="$1" COMP_POINT=${#1}\n'
        "_wippy_lua_completion wippy-lua\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "-c", script, "bash", line],
        cwd=folder,
        env={**environment(), "PATH": f"{command.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert (done.stdout.splitlines(), done.stderr) == (offered, "")
