import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.command import COMMAND, PUBLISH, QUEUE, app, environment, wippy

pytestmark = pytest.mark.once  # its apps are processes of their own

HELLO = Path(__file__).parents[2] / "examples" / "hello" / "main.lua"
HANDLED = 'local log = require("logger") return function(body) log.info("handled", body) end'


def test_the_main_function_of_the_returned_table_decides_the_status(tmp_path: Path) -> None:
    app(tmp_path, main="return {main = function(...) return select('#', ...) end}")

    assert wippy("run", tmp_path / "main.lua", "--", "--drain", "b", "--").returncode == 3


def test_arguments_after_two_dashes_reach_main_even_without_a_path(tmp_path: Path) -> None:
    app(tmp_path, main="local a, b = ... print(a .. '|' .. b)")

    ended = wippy("run", "--", "-x", "ä ö", cwd=tmp_path)

    assert ended.returncode == 0
    assert "-x|ä ö" in ended.stderr


def test_a_failing_main_is_told_with_its_place_and_stack(tmp_path: Path) -> None:
    ended = wippy("run", app(tmp_path, main="local function f()\n  error('no luck')\nend\nf()"))

    assert ended.returncode == 1
    assert "error: main.lua:2: no luck" in ended.stderr
    assert "main.lua:4: in " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_failing_main_ends_the_run_though_consumers_run(tmp_path: Path) -> None:
    ended = wippy("run", app(tmp_path, QUEUE, handler=HANDLED, main="return 3"))

    assert ended.returncode == 3


def test_drain_waits_for_delayed_messages(tmp_path: Path) -> None:
    main = 'require("queue").publish("app:tasks", {n = 5}, nil, {delay = "300ms"})'
    ended = wippy("run", app(tmp_path, QUEUE, handler=HANDLED, main=main), "--drain")

    assert ended.returncode == 0
    assert "handled" in ended.stderr
    assert "messages left" not in ended.stderr


def test_drain_keeps_the_status_of_main(tmp_path: Path) -> None:
    app(tmp_path, QUEUE, handler=HANDLED, main=f"{PUBLISH} return 4")

    ended = wippy("run", tmp_path, "--drain")

    assert ended.returncode == 4
    assert "handled" in ended.stderr


def test_drain_does_not_wait_for_a_queue_that_nobody_empties(tmp_path: Path) -> None:
    app(tmp_path, QUEUE, handler=HANDLED, main=PUBLISH)

    ended = wippy("run", tmp_path, "--drain", "--set", "app:worker.lifecycle.auto_start=false")

    assert ended.returncode == 0
    assert "handled" not in ended.stderr
    assert "messages left in queue" in ended.stderr


def test_start_starts_a_service_without_auto_start(tmp_path: Path) -> None:
    entries = QUEUE.replace("auto_start: true", "auto_start: false")
    app(tmp_path, entries, handler=HANDLED, main=PUBLISH)

    ended = wippy("run", tmp_path, "--start", "app:worker", "--drain")

    assert ended.returncode == 0
    assert "handled" in ended.stderr


def test_start_of_an_unknown_service_suggests_one_and_starts_nothing(tmp_path: Path) -> None:
    app(tmp_path, QUEUE, handler=HANDLED, main="print('ran')")

    ended = wippy("run", tmp_path, "--start", "app:wroker")

    assert ended.returncode == 2
    assert ended.stderr == "--start: no service 'app:wroker'; did you mean 'app:worker'?\n"


def test_a_wrong_override_is_a_problem_of_the_app(tmp_path: Path) -> None:
    app(tmp_path, QUEUE, handler=HANDLED)

    ended = wippy("run", tmp_path, "--set", "app:worker.concurrency=5000")

    assert ended.returncode == 2
    assert ended.stderr.startswith("--set: app:worker: ")
    assert "1000" in ended.stderr
    assert ended.stderr.endswith("\n1 problem\n")


@pytest.mark.parametrize("handler", ["return function( end", "error('at load')"])
def test_a_handler_that_does_not_load_stops_the_run_before_anything_starts(
    tmp_path: Path, handler: str
) -> None:
    app(tmp_path, QUEUE, handler=handler, main="print('ran')")

    ended = wippy("run", tmp_path, "--log-level", "debug")

    assert ended.returncode == 2
    assert ended.stderr.startswith(f"{tmp_path}/handler.lua:1:1: app:handler: ")
    assert ended.stderr.endswith("\n1 problem\n")
    assert "service" not in ended.stderr
    assert "ran" not in ended.stderr


def test_every_problem_of_the_registry_is_a_line(tmp_path: Path) -> None:
    ended = wippy("run", app(tmp_path, "- {name: a, kind: nonsense}\n- {name: b}\n"))

    lines = ended.stderr.splitlines()
    assert ended.returncode == 2
    assert lines[0].startswith(f"{tmp_path}/_index.yaml:4:19: app:a: unknown kind 'nonsense'")
    assert lines[1] == f"{tmp_path}/_index.yaml:5:3: app:b: missing field 'kind'"
    assert lines[2:] == ["2 problems"]


def test_a_service_that_cannot_start_ends_the_run_with_its_name(tmp_path: Path) -> None:
    entries = """\
- {name: memory, kind: queue.driver.memory}
- {name: tasks, kind: queue.queue, driver: memory, options: {max_length: -1}}
"""
    ended = wippy("run", app(tmp_path, entries, main="print('ran')"))

    assert ended.returncode == 1
    assert "error: cannot start app:memory: " in ended.stderr
    assert "ran" not in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_process_keeps_the_run_going_until_it_ends(tmp_path: Path) -> None:
    entries = """\
- {name: job, kind: process.lua, source: file://job.lua, modules: [logger]}
- {name: jobs, kind: process.service, process: job, lifecycle: {auto_start: true}}
"""
    job = 'return function() require("logger").info("job done") end'
    ended = wippy("run", app(tmp_path, entries, job=job))

    assert ended.returncode == 0
    assert "job done" in ended.stderr


def test_a_process_that_failed_for_good_is_an_error_of_the_run(tmp_path: Path) -> None:
    entries = """\
- {name: job, kind: process.lua, source: file://job.lua}
- {name: jobs, kind: process.service, process: job, lifecycle: {auto_start: true}}
"""
    job = "return function() error(errors.new{message = 'broken', retryable = false}) end"
    ended = wippy("run", app(tmp_path, entries, job=job))

    assert ended.returncode == 1
    assert "error: app:jobs failed for good: " in ended.stderr
    assert "broken" in ended.stderr


def test_a_folder_with_nothing_to_run_is_an_error(tmp_path: Path) -> None:
    ended = wippy("run", tmp_path)

    assert ended.returncode == 2
    assert "nothing to run" in ended.stderr


def test_json_logs_are_one_object_per_line(tmp_path: Path) -> None:
    handler = 'return function(b) require("logger").info("a\\nb", {level = 1, x = {1, 0/0}}) end'
    app(tmp_path, QUEUE, handler=handler, main=f"{PUBLISH} print('\\xff') error('no\\nluck')")

    ended = wippy("run", tmp_path, "--drain", "--log-format", "json", "--log-level", "debug")

    records = [json.loads(line) for line in ended.stderr.splitlines()]
    assert ended.returncode == 1
    for record in records:
        assert {"time", "level", "msg", "logger"} <= record.keys()
    (handled,) = [record for record in records if record["msg"] == "a\nb"]
    assert handled["consumer"] == "app:worker"
    assert handled["attempt"] == 1
    assert handled["level_"] == 1
    assert any("no\nluck" in record["msg"] for record in records)


def test_the_log_level_of_the_app_holds_unless_the_command_says_another(tmp_path: Path) -> None:
    main = 'local log = require("logger") log.debug("a detail") log.info("a fact")'
    app(tmp_path, "- {name: host, kind: host.config, log_level: warn}\n", main=main)

    assert wippy("run", tmp_path).stderr == ""
    told = wippy("run", tmp_path, "--log-level", "debug").stderr
    assert "a detail" in told
    assert "a fact" in told


def test_what_click_does_not_know_is_its_own_status(tmp_path: Path) -> None:
    assert wippy("nonsense").returncode == 2
    assert wippy("run", "--nonsense", tmp_path).returncode == 2
    assert wippy("run", tmp_path, "word").returncode == 2


def test_version_and_help_answer() -> None:
    assert wippy("--version").stdout.startswith("wippy-lua ")
    assert wippy("-h").stdout == wippy("--help").stdout
    assert "[-- ARGS...]" in wippy("run", "-h").stdout


def test_a_run_imports_nothing_that_it_does_not_use() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *COMMAND[1:], "run", str(HELLO), "--drain"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "structlog" in imported  # so the list is one
    assert not imported & {
        "difflib",
        "importlib.metadata",
        "re2",
        "redis",
        "rich.console",
        "zoneinfo",
    }
