import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import COMMAND, PATIENCE, QUEUE, app, environment, wippy

pytestmark = pytest.mark.once  # its apps are processes of their own


def test_a_pipe_gets_aligned_columns(tmp_path: Path) -> None:
    ended = wippy("list", app(tmp_path, QUEUE, handler=""))

    lines = ended.stdout.splitlines()
    assert ended.returncode == 0
    assert len(lines) == 6
    assert lines[0].split() == ["id", "kind", "where", "auto_start"]
    column = lines[0].index("where")
    assert {line[column:].split(":")[0] for line in lines[1:]} == {f"{tmp_path}/_index.yaml"}
    assert lines[5].split()[0] == "app:worker"
    assert lines[5].endswith(" yes")
    assert "\x1b" not in ended.stdout


def test_json_tells_which_entries_are_services(tmp_path: Path) -> None:
    ended = wippy("list", app(tmp_path, QUEUE, handler=""), "--json")

    rows = {row["id"]: row for row in json.loads(ended.stdout)}
    assert rows["app:worker"] == {
        "id": "app:worker",
        "kind": "queue.consumer",
        "where": f"{tmp_path}/_index.yaml:8:3",
        "auto_start": True,
    }
    assert rows["app:memory"]["auto_start"] is False
    assert rows["app:tasks"]["auto_start"] is None


def test_kind_takes_what_is_below_it_too(tmp_path: Path) -> None:
    ended = wippy("list", app(tmp_path, QUEUE, handler=""), "--json", "--kind", "queue.driver")

    assert [row["id"] for row in json.loads(ended.stdout)] == ["app:memory"]


def test_an_unknown_kind_is_a_usage_error(tmp_path: Path) -> None:
    ended = wippy("list", app(tmp_path, QUEUE, handler=""), "--kind", "queue.consumr")

    assert ended.returncode == 2
    assert "did you mean 'queue.consumer'" in ended.stderr


def test_broken_lua_does_not_hide_the_entries(tmp_path: Path) -> None:
    assert wippy("list", app(tmp_path, QUEUE, handler="return )")).returncode == 0


def test_a_broken_registry_is_reported(tmp_path: Path) -> None:
    ended = wippy("list", app(tmp_path, "- {name: b}\n"))

    assert ended.returncode == 2
    assert ended.stderr.endswith("1 problem\n")
    assert ended.stdout == ""


def test_a_reader_that_goes_away_is_no_error_worth_a_traceback(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "list", app(tmp_path, QUEUE, handler="")],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()

        assert process.stderr.read() == b""
        process.wait(PATIENCE)


@pytest.mark.parametrize("words", [("list", "."), ("queue", "ls"), ("dlq", "ls")])
def test_what_draws_is_imported_only_for_terminals(tmp_path: Path, words: tuple[str, ...]) -> None:
    queue = """\
- {name: file, kind: queue.driver.sqlite, file: queue.db}
- {name: dead, kind: queue.queue, driver: file}
- {name: a, kind: queue.queue, driver: file, dead_letter: {queue: dead, max_attempts: 1}}
"""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "wippy_lua", *words],
        cwd=app(tmp_path, queue),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert "app:dead" in done.stdout
    assert "wippy_lua.cli.tables" in done.stderr
    assert " rich" not in done.stderr
