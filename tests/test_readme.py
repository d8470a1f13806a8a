"""Every snippet of the README does what the README says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wippy_lua import Host

pytestmark = pytest.mark.once  # its apps are processes of their own

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SNIPPETS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)


def snippets(language: str) -> list[str]:
    """Returns the code blocks of one language, in order."""
    return [text for name, text in SNIPPETS if name == language]


def wippy_lua(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs the command; it must succeed."""
    command = [sys.executable, "-m", "wippy_lua", *arguments]
    done = subprocess.run(
        command,
        cwd=cwd,
        env={"PYTHONPATH": str(ROOT / "host"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done


def lines(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    """Returns the log of a run with `--log-format json`."""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_readme_has_no_snippet_that_nobody_runs() -> None:
    assert [name for name, _ in SNIPPETS] == [
        "lua", "sh", "sh", "yaml", "lua", "yaml", "lua", "lua", "python",
    ]  # fmt: skip


def test_the_whole_app_in_one_file_greets(tmp_path: Path) -> None:
    (tmp_path / "main.lua").write_text(snippets("lua")[0])
    done = wippy_lua("run", "main.lua", "--drain", "--log-format", "json", cwd=tmp_path)
    assert [line["name"] for line in lines(done) if line["msg"] == "hello"] == ["world"]


def test_the_app_with_a_registry_handles_and_dead_letters(tmp_path: Path) -> None:
    (tmp_path / "_index.yaml").write_text(snippets("yaml")[0])
    (tmp_path / "task_handler.lua").write_text(snippets("lua")[1])
    (tmp_path / "main.lua").write_text(
        'local queue = require("queue")\n'
        'assert(queue.publish("app.queue:tasks", {id = "t-1"}))\n'
        'assert(queue.publish("app.queue:tasks", {name = "nobody"}))\n'
    )
    wippy_lua("check", cwd=tmp_path)
    log = lines(wippy_lua("run", "--drain", "--log-format", "json", cwd=tmp_path))
    assert [line["task_id"] for line in log if line["msg"] == "processing"] == ["t-1"]
    [dead] = [line for line in log if line["msg"] == "message dead-lettered"]
    assert (dead["to"], dead["reason"]) == ("app.queue:failed", "not_retryable")


def test_an_order_is_charged_once(tmp_path: Path) -> None:
    (tmp_path / "charge_order.lua").write_text(snippets("lua")[3])
    (tmp_path / "_index.yaml").write_text(
        """\
version: "1.0"
namespace: app
entries:
- {name: done, kind: store.memory}
- name: charge
  kind: function.lua
  source: file://charge_order.lua
  modules: [billing, store]
"""
    )
    charged: list[int] = []

    def charge(cents: int) -> dict[str, int]:
        charged.append(cents)
        return {"charged": cents}

    host = Host(tmp_path, modules={"billing": {"charge": charge}})
    orders = [host.call("app:charge", {"id": f"o-{n % 2}", "cents": 100 + n % 2}) for n in range(4)]
    assert orders == [{"charged": 100}, {"charged": 101}] * 2
    assert charged == [100, 101]


def test_the_test_of_the_handler_passes(tmp_path: Path) -> None:
    index, entry = snippets("yaml")
    (tmp_path / "_index.yaml").write_text(f"{index}\n{entry}")
    for name, text in zip(("task_handler.lua", "task_test.lua"), snippets("lua")[1:3], strict=True):
        (tmp_path / name).write_text(text)
    done = wippy_lua("test", cwd=tmp_path)
    first, last = done.stdout.splitlines()
    assert first.startswith("ok   [tasks] app.queue:task_test: a task without an ID")
    assert last.startswith("1 passed in ")


def test_the_python_program_publishes() -> None:
    program = snippets("python")[0] + "\nprint(host.info('app.queue:tasks').message_count)\n"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "host")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0\n"


@pytest.mark.timeout(600)
def test_the_command_that_sets_up_and_runs_the_hello_app_works_in_a_fresh_copy(
    tmp_path: Path,
) -> None:
    copy = tmp_path / "wippy-lua"
    shutil.copytree(
        ROOT, copy, ignore=shutil.ignore_patterns(".venv", ".git", "*_cache", "__pycache__")
    )
    done = subprocess.run(
        ["bash", "-ec", snippets("sh")[0]],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    assert "name=world" in done.stderr


def test_the_test_command_is_the_script_that_ci_runs() -> None:
    [command] = snippets("sh")[1].splitlines()
    assert command in (ROOT / ".ci" / "run").read_text().splitlines()
