import json
from pathlib import Path

import pytest

from tests.cli.command import QUEUE, app, wippy

pytestmark = pytest.mark.once  # its apps are processes of their own

NO_DEAD_LETTER = """\
- {name: memory, kind: queue.driver.memory}
- {name: tasks, kind: queue.queue, driver: memory}
- {name: handler, kind: function.lua, source: "return print"}
- {name: worker, kind: queue.consumer, queue: tasks, func: handler}
"""


def test_an_app_without_problems_is_ok_and_nothing_of_it_starts(tmp_path: Path) -> None:
    app(tmp_path, QUEUE, handler="return function() end", main="print('ran')")

    ended = wippy("check", tmp_path)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ok: 5 entries\n", "")


def test_warnings_are_printed_and_no_failure(tmp_path: Path) -> None:
    ended = wippy("check", app(tmp_path, NO_DEAD_LETTER))

    lines = ended.stdout.splitlines()
    assert ended.returncode == 0
    assert lines[0].startswith(f"{tmp_path}/_index.yaml:5:3: app:tasks: warning: ")
    assert lines[1:] == ["ok: 4 entries, 1 warning"]


def test_lua_problems_name_the_file_and_line_that_is_wrong(tmp_path: Path) -> None:
    entries = (
        QUEUE
        + """\
- {name: inline, kind: function.lua, source: "return 7"}
- {name: lib, kind: library.lua, source: file://lib.lua}
- name: user
  kind: function.lua
  source: file://user.lua
  imports: {lib: lib}
"""
    )
    app(
        tmp_path,
        entries,
        handler="local a = 1\nreturn function( end",
        main="\n\nlocal = 3",
        lib="x = = 1",
        user="require('lib') return function() end",
    )

    ended = wippy("check", tmp_path)

    lines = ended.stdout.splitlines()
    assert ended.returncode == 2
    assert lines == [
        f"{tmp_path}/_index.yaml:13:3: app:inline: "
        "the source must return a function or a table of functions, not number",
        f"{tmp_path}/handler.lua:2:1: app:handler: <name> or '...' expected near 'end'",
        f"{tmp_path}/lib.lua:1:1: app:lib: unexpected symbol near '='",
        f"{tmp_path}/main.lua:3:1: <name> expected near '='",
        "4 problems",
    ]


def test_json_has_every_fact_of_every_problem(tmp_path: Path) -> None:
    ended = wippy("check", app(tmp_path, QUEUE, handler="\nreturn )"), "--json")

    assert ended.returncode == 2
    assert json.loads(ended.stdout) == {
        "ok": False,
        "problems": [
            {
                "file": f"{tmp_path}/handler.lua",
                "line": 2,
                "column": 1,
                "entry": "app:handler",
                "message": "unexpected symbol near ')'",
                "severity": "error",
            }
        ],
    }


def test_json_is_ok_with_warnings(tmp_path: Path) -> None:
    ended = wippy("check", app(tmp_path, NO_DEAD_LETTER), "--json")

    report = json.loads(ended.stdout)
    assert report["ok"] is True
    assert [problem["severity"] for problem in report["problems"]] == ["warning"]


def test_overrides_are_checked_too(tmp_path: Path) -> None:
    app(tmp_path, QUEUE, handler="return function() end")

    good = wippy("check", tmp_path, "--set", "app:worker.concurrency=8")
    bad = wippy("check", tmp_path, "--set", "app:worker.concurrencies=8")

    assert good.returncode == 0
    assert bad.returncode == 2
    assert "did you mean 'concurrency'" in bad.stdout


def test_a_path_that_is_no_app_is_a_problem(tmp_path: Path) -> None:
    ended = wippy("check", tmp_path / "none")

    assert ended.returncode == 2
    assert ended.stdout == f"{tmp_path}/none: no such file or folder\n1 problem\n"


def test_modules_of_the_embedding_program_are_named_to_be_known(tmp_path: Path) -> None:
    app(
        tmp_path,
        QUEUE.replace("modules: [queue, logger]", "modules: [m]"),
        handler='local m = require("m")\nreturn function() m.f() end',
    )

    assert "unknown module 'm'" in wippy("check", tmp_path).stdout
    ended = wippy("check", tmp_path, "--module", "m")

    assert (ended.returncode, ended.stdout) == (0, "ok: 5 entries\n")
