"""A driver whose extra is not installed: one line says what to install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.running import environment

pytestmark = pytest.mark.once  # its apps are processes of their own

INDEX = """\
version: "1.0"
namespace: app
entries:
  - {{name: broker, kind: queue.driver.{driver}}}
  - {{name: tasks, kind: queue.queue, driver: broker}}
"""

#: Runs the command as if a package were not there.
WITHOUT = """
import importlib.util, sys
missing, *arguments = sys.argv[1:]
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == missing else find_spec(name, *rest)
sys.modules[missing] = None
from wippy_lua.cli import main
sys.argv = ["wippy-lua", *arguments]
main()
"""


@pytest.mark.parametrize(("driver", "package"), [("redis", "redis"), ("sqs", "boto3")])
@pytest.mark.parametrize("command", ["run", "check"])
def test_a_missing_extra_is_a_problem_of_the_entry(
    tmp_path: Path, driver: str, package: str, command: str
) -> None:
    (tmp_path / "_index.yaml").write_text(INDEX.format(driver=driver))
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT, package, command, "."],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    shown = (ended.stdout + ended.stderr).splitlines()
    assert "Traceback (most recent call last):" not in shown
    [line] = [line for line in shown if "pip install" in line]
    assert line.startswith("_index.yaml:4:5: app:broker: ")
    assert line.endswith(f'pip install "wippy-lua[{driver}]"')
