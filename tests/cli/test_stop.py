import signal
import sys
import time
from pathlib import Path

import pytest

from tests.cli.command import PUBLISH, QUEUE, Running, app

pytestmark = pytest.mark.once  # its apps are processes of their own

BEGUN = 'local queue, logger = require("queue"), require("logger")\nlogger.info("begun")\n'
POLITE = f"""return function()
  {BEGUN}
  while not queue.message():cancelled() do end
  logger.info("finished")
end"""
ENDLESS = f"return function() {BEGUN} while true do end end"
SLOW = """
local logger = require("logger")
return function(body)
  logger.info("handled", {n = body.n})
  local begin = os.clock()
  while os.clock() - begin < 0.005 do end
end"""
#: Longer than the stop_timeout of the app's consumer by what a busy machine may need.
STOP_SECONDS = 4.0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_handler_finish(tmp_path: Path, signum: signal.Signals) -> None:
    with Running("run", app(tmp_path, QUEUE, handler=POLITE, main=PUBLISH)) as run:
        run.wait_for("begun")
        run.signal(signum)

        assert run.finish() == 0

    assert f"{signum.name}: stopping" in run.output
    assert "finished" in run.output
    assert "messages left" not in run.output


def test_a_handler_that_never_ends_is_interrupted_and_named(tmp_path: Path) -> None:
    with Running("run", app(tmp_path, QUEUE, handler=ENDLESS, main=PUBLISH)) as run:
        run.wait_for("begun")
        begin = time.monotonic()
        run.signal(signal.SIGTERM)

        assert run.finish() == 1
        assert time.monotonic() - begin < STOP_SECONDS

    errors = [line for line in run.lines if line.startswith("error: ")]
    assert len(errors) == 1
    assert "app:worker did not stop within 1s: interrupted app:handler (message " in errors[0]
    assert any("did not stop cleanly" in line and "app:handler" in line for line in run.lines)
    assert "messages left in queue" in run.output


def test_names_of_what_was_interrupted_are_in_a_json_log_too(tmp_path: Path) -> None:
    app(tmp_path, QUEUE, handler=ENDLESS, main=PUBLISH)
    with Running("run", tmp_path, "--log-format", "json") as run:
        run.wait_for("begun")
        run.signal(signal.SIGTERM)

        assert run.finish() == 1

    assert any("app:handler" in r["msg"] for r in run.records() if r["level"] == "error")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_process_at_once(tmp_path: Path, second: signal.Signals) -> None:
    entries = QUEUE.replace("stop_timeout: 1s", "stop_timeout: 1h")
    with Running("run", app(tmp_path, entries, handler=ENDLESS, main=PUBLISH)) as run:
        run.wait_for("begun")
        run.signal(signal.SIGTERM)
        run.wait_for("SIGTERM: stopping")
        time.sleep(0.1)  # two signals closer than that are taken for one

        run.signal(second)

        assert run.finish() == 128 + second

    assert f"second signal ({second.name})" in run.lines[-1]


def test_a_second_signal_works_though_something_holds_the_hub() -> None:
    program = """
import time
from wippy_lua.cli.report import Notes
from wippy_lua.cli.signals import Signals
signals, notes = Signals(), Notes("console")
signals.watch()
signals.stop_with(lambda: notes.error("the hub runs"), notes)
notes.info("holding the hub")
time.sleep(60)"""
    with Running(program, command=[sys.executable, "-c"]) as run:
        run.wait_for("holding")
        run.signal(signal.SIGTERM)
        run.wait_for("SIGTERM: stopping")
        time.sleep(0.1)  # two signals closer than that are taken for one

        run.signal(signal.SIGINT)

        assert run.finish() == 130

    assert "the hub runs" not in run.output


def test_two_signals_of_one_sender_are_one(tmp_path: Path) -> None:
    with Running("run", app(tmp_path, QUEUE, handler=POLITE, main=PUBLISH)) as run:
        run.wait_for("begun")
        run.signal(signal.SIGTERM)
        run.signal(signal.SIGTERM)

        assert run.finish() == 0


def test_a_running_process_is_stopped_at_its_next_wait(tmp_path: Path) -> None:
    entries = """\
- {name: memory, kind: queue.driver.memory}
- {name: tasks, kind: queue.queue, driver: memory, options: {max_length: 1}}
- {name: job, kind: process.lua, source: file://job.lua, modules: [queue, logger]}
- {name: jobs, kind: process.service, process: job, lifecycle: {auto_start: true}}
"""
    job = f"return function() {BEGUN} while true do queue.publish('app:tasks', 'x') end end"
    with Running("run", app(tmp_path, entries, job=job)) as run:
        run.wait_for("begun")
        run.signal(signal.SIGTERM)

        assert run.finish() == 0

    assert "messages left in queue" in run.output


def test_a_main_that_waits_is_ended_there_and_all_was_clean(tmp_path: Path) -> None:
    main = """
local queue = require("queue")
queue.declare("app:full", {options = {max_length = 1}})
queue.publish("app:full", "first")
print("waiting")
queue.publish("app:full", "second", nil, {timeout = "1h"})
print("not reached")"""
    with Running("run", app(tmp_path, main=main)) as run:
        run.wait_for("waiting")
        run.signal(signal.SIGTERM)

        assert run.finish() == 0

    assert "not reached" not in run.output
    assert "error" not in run.output


def test_a_main_that_computes_is_ended_at_its_next_host_call(tmp_path: Path) -> None:
    main = """
print("computing")
while true do
  for _ = 1, 100000 do end
  require("queue").info("app:none")
end"""
    with Running("run", app(tmp_path, main=main)) as run:
        run.wait_for("computing")
        run.signal(signal.SIGINT)

        assert run.finish() == 0


def test_a_main_that_finishes_while_it_is_stopped_keeps_its_status(tmp_path: Path) -> None:
    main = """
print("computing")
local begin = os.time()
while os.time() - begin < 2 do end
return 9"""
    with Running("run", app(tmp_path, main=main)) as run:
        run.wait_for("computing")
        run.signal(signal.SIGTERM)

        assert run.finish() == 9


def test_a_stop_amid_many_messages_is_quick_and_loses_none(tmp_path: Path) -> None:
    main = """
local list = {}
for n = 1, 1000 do list[n] = {n = n} end
require("queue").publish_many("app:tasks", list)"""
    app(tmp_path, QUEUE, handler=SLOW, main=main)
    with Running("run", tmp_path, "--log-format", "json") as run:
        run.wait_for('"n":20')
        begin = time.monotonic()
        run.signal(signal.SIGTERM)

        assert run.finish() == 0
        assert time.monotonic() - begin < STOP_SECONDS

    records = run.records()
    handled = {record["n"] for record in records if record["msg"] == "handled"}
    (left,) = [record for record in records if record["msg"] == "messages left in queue"]
    assert left["queue"] == "app:tasks"
    assert left["ready"] + len(handled) == 1000


def test_ctrl_c_while_the_app_loads_is_quiet(tmp_path: Path) -> None:
    app(tmp_path, QUEUE, handler="print('loading') while true do end")
    with Running("run", tmp_path) as run:
        run.wait_for("loading")
        run.signal(signal.SIGINT)

        assert run.finish() == 130

    assert len(run.lines) == 1
