"""`wippy-lua test` as people run it: through the command, in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.cli.command import COMMAND, PATIENCE, app, environment, wippy
from tests.cli.terminal import Terminal
from wippy_lua.cli.testing.suite import Test

#: The command patches its own process: the tests' need not be patched for a second time.
pytestmark = pytest.mark.once

#: A queue of a broker and a store that are nowhere to be found, and what uses them.
ENTRIES = """\
- {name: broker, kind: queue.driver.amqp, url: "amqp://127.0.0.1:1/"}
- {name: dead, kind: queue.queue, driver: broker, declare: false}
- name: tasks
  kind: queue.queue
  driver: broker
  options: {max_length: 50, max_priority: 5}
  driver_options: {amqp: {queue_type: classic}}
  dead_letter: {queue: dead, max_attempts: 3}
- {name: seen, kind: store.redis, url: "redis://127.0.0.1:1/0"}
- {name: handler, kind: function.lua, source: file://handler.lua, modules: [store, logger]}
- {name: worker, kind: queue.consumer, queue: tasks, func: handler, lifecycle: {auto_start: true}}
"""
HANDLER = """\
local store, logger = require("store"), require("logger")
return function(body)
  logger.info("handled", {n = body.n})
  if body.n < 0 then
    return nil, errors.new({message = "negative", kind = errors.INVALID, retryable = false})
  end
  store.get("app:seen"):set("n", body.n)
end
"""
FLOW = """\
local test, queue, store = require("test"), require("queue"), require("store")
return function()
  test.ok(queue.publish("app:tasks", {n = 7}))
  local seen = test.ok(store.get("app:seen"))
  test.equal(test.eventually(function() return seen:get("n") end), 7)
  test.ok(queue.publish("app:tasks", {n = -1}))
  test.eventually(function() return queue.info("app:dead").ready == 1 end)
end
"""


def entry(name: str, source: str = "", **more: str) -> str:
    """Returns a test whose file is `name.lua`, or whose Lua is given."""
    fields = {"modules": "[test, queue, store, logger, time]", "meta": "{type: test}", **more}
    lines = "".join(f"  {key}: {value}\n" for key, value in fields.items())
    text = json.dumps(source) if source else f"file://{name}.lua"
    return f"- name: {name}\n  kind: function.lua\n  source: {text}\n{lines}"


def results(folder: Path, *words: str) -> dict[str, Any]:
    """Runs the tests and returns each result by its ID, and case where there is one."""
    ended = wippy("test", folder, "--json", *words)
    assert ended.stderr == "", ended.stderr
    report = json.loads(ended.stdout)
    assert ended.returncode == (0 if report["ok"] else 1)
    return {"/".join(filter(None, (each["id"], each["case"]))): each for each in report["tests"]}


def test_a_test_publishes_and_looks_at_what_the_apps_consumers_did(tmp_path: Path) -> None:
    app(
        tmp_path,
        ENTRIES + entry("flow", meta="{type: test, suite: queue}"),
        handler=HANDLER,
        flow=FLOW,
    )

    ended = wippy("test", tmp_path)

    first, last = ended.stdout.splitlines()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert first.startswith("ok   [queue] app:flow (")
    assert last.startswith("1 passed in ")
    assert "handled" not in ended.stdout


def test_verbose_shows_the_log_of_what_passed(tmp_path: Path) -> None:
    app(tmp_path, ENTRIES + entry("flow"), handler=HANDLER, flow=FLOW)

    ended = wippy("test", tmp_path, "-v")

    assert "info  handled  logger=lua function=app:handler" in ended.stdout


#: A test, and how its failure begins; None for one that passes.
OUTCOMES = {
    "nothing": ("return function() end", None),
    "yes": ("return function() return true end", None),
    "value": ("return {main = function() return 7 end}", None),
    "raises": ("return function() error('no paper') end", "app:raises:1: no paper"),
    "nil_err": ("return function() return nil, 'no paper' end", "no paper"),
    "no": ("return function() return false end", "the handler returned false"),
    "error": ("return function() return 1, errors.new('no paper') end", "no paper"),
    "spins": ("return function() while true do end end", "app:spins timed out"),
    "waits": ("return function() require('time').sleep('9s') end", "app:waits timed out"),
    "memory": (
        "return function() local t = {} while true do t[#t + 1] = {} end end",
        "app:memory reached its memory limit of 2 MiB",
    ),
}


def test_a_test_fails_as_a_handler_does(tmp_path: Path) -> None:
    limits = "{timeout: 200ms, memory: 2MiB}"
    entries = [entry(name, source, limits=limits) for name, (source, _) in OUTCOMES.items()]
    found = results(app(tmp_path, "".join(entries)))

    told = {
        name.removeprefix("app:"): each["failure"]["message"] if "failure" in each else None
        for name, each in found.items()
    }
    assert told == {name: problem for name, (_, problem) in OUTCOMES.items()}
    assert found["app:spins"]["failure"]["kind"] == "Timeout"


ASSERTIONS = """\
local test, logger = require("test"), require("logger")

local function check(case)
  logger.info("checking", {case = case})
  test.equal({items = {1, {id = "a"}}}, {items = {1, {id = 7}}}, "the order")
end

return function()
  check("x")
end
"""


def test_a_failure_says_what_differs_and_where_with_stack_and_log(tmp_path: Path) -> None:
    app(tmp_path, entry("wrong") + entry("fine", "return function() end"), wrong=ASSERTIONS)

    ended = wippy("test", tmp_path)

    assert ended.returncode == 1
    lines = ended.stdout.splitlines()
    start = lines.index("", 1) + 1
    assert lines[start].startswith("FAIL [app] app:wrong (")
    problem = 'wrong.lua:5: the order: at .items[2].id: expected 7 (integer), got "a" (string)'
    assert lines[start + 1] == f"    {problem}"
    assert lines[start + 2 : start + 6] == [
        "    stack:",
        "      wrong.lua:5: in upvalue 'check'",
        "      wrong.lua:9: in function <wrong.lua:8>",
        "    log:",
    ]
    assert "info  checking" in lines[start + 6]
    assert "caller=wrong.lua:4 case=x" in lines[start + 6]
    assert lines[-1].startswith("1 passed, 1 failed in ")


CASES = """\
local test, time = require("test"), require("time")
local conflict = errors.new({message = "no", kind = errors.CONFLICT})
return function()
  test.case("good", function() end)
  test.case("bad", function() test.ok(nil) end)
  test.case("returned", function() return nil, errors.wrap(conflict, "saving") end)
  test.case("outer", function() test.case("inner", function() error("x") end) end)
  test.case("endless", function() time.sleep("9s") end)
end
"""


def test_each_case_is_reported_by_itself(tmp_path: Path) -> None:
    app(tmp_path, entry("cases", limits="{timeout: 300ms}"), cases=CASES)

    found = results(tmp_path)

    assert {name: each["status"] for name, each in found.items()} == {
        "app:cases/good": "passed",
        "app:cases/bad": "failed",
        "app:cases/returned": "failed",
        "app:cases/outer: inner": "failed",
        "app:cases/outer": "passed",
        "app:cases/endless": "failed",
    }
    bad = found["app:cases/bad"]["failure"]
    assert (bad["file"], bad["line"]) == ("cases.lua", 5)
    assert found["app:cases/returned"]["failure"]["kind"] == "Conflict"
    assert found["app:cases/endless"]["failure"]["kind"] == "Timeout"


def test_a_timeout_for_tests_that_have_none(tmp_path: Path) -> None:
    sleeps = "return function() require('time').sleep('200ms') end"
    app(tmp_path, entry("a", sleeps) + entry("b", sleeps, limits="{timeout: 5s}"))

    found = results(tmp_path, "--timeout", "50ms")

    assert {name: each["status"] for name, each in found.items()} == {
        "app:a": "failed",
        "app:b": "passed",
    }


MEET = """\
local test, store = require("test"), require("store")
return function()
  local seen = store.get("app:seen")
  seen:set("%s", true)
  test.eventually(function() return seen:get("%s") end, "300ms")
end
"""


@pytest.mark.parametrize(("jobs", "status"), [("2", 0), ("1", 1)])
def test_tests_run_side_by_side_as_many_as_asked_for(
    tmp_path: Path, jobs: str, status: int
) -> None:
    entries = "- {name: seen, kind: store.memory}\n"
    for me, other in (("a", "b"), ("b", "a")):
        entries += entry(me, MEET % (me, other))

    ended = wippy("test", app(tmp_path, entries), "--jobs", jobs)

    assert ended.returncode == status, ended.stdout


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("queue", True),
        ("QUE", True),
        ("app:pub", True),
        ("q*s", True),
        ("p?blish", True),
        ("store", False),
        ("q?s", False),
    ],
)
def test_a_filter_looks_at_suite_and_id(pattern: str, matches: bool) -> None:
    assert Test("app:publish", "queues", None).matches(pattern) is matches


def test_only_tests_that_match_are_called(tmp_path: Path) -> None:
    body = "return function() end"
    app(
        tmp_path,
        entry("one", body, meta="{type: test, suite: queues}")
        + entry("two", body, meta="{type: test, suite: stores}")
        + entry("queue_job", body, meta="{type: job}")
        + entry("queue_plain", body, meta="{}"),
    )

    assert results(tmp_path, "-k", "queue").keys() == {"app:one"}


def test_nothing_to_run_is_a_failure(tmp_path: Path) -> None:
    app(tmp_path, entry("plain", "return function() end", meta="{}"))
    none = wippy("test", tmp_path)
    app(tmp_path, entry("t", "return function() end"))
    other = wippy("test", tmp_path, "-k", "xyz")

    assert (none.returncode, none.stdout) == (1, "")
    assert none.stderr == "no tests: a test is a function.lua entry with 'meta: {type: test}'\n"
    assert (other.returncode, other.stderr) == (1, "no test matches 'xyz'\n")


def test_an_app_with_problems_runs_no_test(tmp_path: Path) -> None:
    app(tmp_path, entry("t", "return function() end") + entry("u", "return 7"))

    ended = wippy("test", tmp_path)

    assert (ended.returncode, ended.stdout) == (2, "")
    assert "app:u: the source must return a function" in ended.stderr


def test_processes_and_main_stay_where_they_are(tmp_path: Path) -> None:
    entries = """\
- name: p
  kind: process.lua
  source: "return function() require('store').get('app:s'):set('p', 1) end"
  modules: [store]
- {name: s, kind: store.memory}
- {name: ticker, kind: process.service, process: p, lifecycle: {auto_start: true}}
"""
    source = """\
local test = require("test")
return function()
  require("time").sleep("50ms")
  test.equal(require("store").get("app:s"):has("p"), false)
end
"""
    app(tmp_path, entries + entry("t", source), main="error('ran')")

    assert results(tmp_path)["app:t"]["status"] == "passed"


def test_a_run_does_not_load_tests_and_check_does(tmp_path: Path) -> None:
    app(tmp_path, entry("t", "error('loaded')"), main="return 0")

    assert wippy("run", tmp_path).returncode == 0
    checked = wippy("check", tmp_path)
    assert checked.returncode == 2
    assert "app:t: app:t:1: loaded" in checked.stdout


STRICT = """\
- {name: host, kind: host.config, security: strict}
- {name: seen, kind: store.redis, url: "redis://127.0.0.1:1/0"}
- name: stores
  kind: security.policy
  policy: {actions: "store.*", resources: "*", effect: allow}
  groups: [keepers]
"""
SETS = "local s = require('store').get('app:seen') return function() return s:set('x', 1) end"


def test_a_test_acts_as_its_meta_says(tmp_path: Path) -> None:
    keeper = "{type: test, security: {actor: {id: tester}, groups: [keepers]}}"
    app(
        tmp_path,
        STRICT
        + entry("nobody", SETS)
        + entry("group", SETS, meta=keeper)
        + entry("policy", SETS, meta="{type: test, security: {policies: [stores]}}"),
    )

    found = results(tmp_path)

    assert {name: each["status"] for name, each in found.items()} == {
        "app:nobody": "failed",
        "app:group": "passed",
        "app:policy": "passed",
    }


#: A wrong `meta.security`, and what is said of it.
WRONG = {
    "{groups: [nowhere]}": "meta.security: group 'nowhere' not found",
    "{policies: [x]}": "meta.security: policy 'app:x' not found",
    "{groops: []}": "unknown field 'meta.security.groops'; did you mean 'groups'?",
    "7": "meta.security: must be a map",
}


def test_a_wrong_security_is_a_problem_of_the_app(tmp_path: Path) -> None:
    tests = [
        entry(f"t{number}", SETS, meta=f"{{type: test, security: {security}}}")
        for number, security in enumerate(WRONG)
    ]

    ended = wippy("test", app(tmp_path, STRICT + "".join(tests)))

    assert ended.returncode == 2
    said = [line.partition(": app:t")[2][3:] for line in ended.stderr.splitlines()[:-1]]
    assert said == list(WRONG.values())


def test_ctrl_c_ends_what_runs_and_reports_what_ran(tmp_path: Path) -> None:
    slow = "return function() require('time').sleep('60s') end"
    app(
        tmp_path,
        entry("quick", "return function() end")
        + "".join(entry(f"slow{n}", slow) for n in range(3)),
    )
    junit = tmp_path / "junit.xml"
    command = [*COMMAND, "test", str(tmp_path), "--jobs", "2", "--junit", str(junit)]

    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("ok   [app] app:quick")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE)

    assert process.returncode == 1
    assert "SIGINT: stopping" in err
    assert out.splitlines()[-1].startswith("1 passed, 3 skipped in ")
    root = ET.parse(junit).getroot()  # noqa: S314 - our own file
    check_junit(root)
    assert (root.get("tests"), root.get("failures"), root.get("skipped")) == ("4", "0", "3")


def test_a_consumer_that_does_not_stop_fails_the_run(tmp_path: Path) -> None:
    handler = "return function() while true do require('time').sleep('10ms') end end"
    source = """\
local test, queue = require("test"), require("queue")
return function()
  test.ok(queue.publish("app:tasks", {n = 1}))
  test.eventually(function() return queue.info("app:tasks").in_flight == 1 end)
end
"""
    entries = ENTRIES.replace("auto_start: true", "auto_start: true, stop_timeout: 100ms")
    app(
        tmp_path,
        entries.replace("modules: [store, logger]", "modules: [time]") + entry("t", source),
        handler=handler,
    )

    ended = wippy("test", tmp_path)

    assert ended.returncode == 1
    assert "error: app:worker did not stop within 0.1s" in ended.stdout


#: What the schema that CI servers share allows, and which of it we must have.
ATTRIBUTES = {
    "testsuites": ({"name", "tests", "failures", "errors", "skipped", "time"}, {"tests"}),
    "testsuite": (
        {"name", "tests", "failures", "errors", "skipped", "time"},
        {"name", "tests", "failures", "errors", "skipped", "time"},
    ),
    "testcase": ({"name", "classname", "time", "file", "line"}, {"name", "classname", "time"}),
    "failure": ({"message", "type"}, {"message", "type"}),
    "skipped": ({"message"}, set()),
    "system-out": (set(), set()),
}
CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"testcase"},
    "testcase": {"skipped", "failure", "system-out"},
}


def check_junit(element: ET.Element) -> None:
    """Asserts that an element is what servers expect, and all below it."""
    allowed, required = ATTRIBUTES[element.tag]
    assert required <= element.attrib.keys() <= allowed
    assert {child.tag for child in element} <= CHILDREN.get(element.tag, set())
    for name in {"tests", "failures", "errors", "skipped", "line"} & element.attrib.keys():
        assert element.attrib[name].isdecimal()
    if "time" in element.attrib:
        assert float(element.attrib["time"]) >= 0
    if element.tag in ("testsuites", "testsuite"):
        cases = list(element.iter("testcase"))
        assert int(element.attrib["tests"]) == len(cases)
        failed = [case for case in cases if case.find("failure") is not None]
        assert int(element.attrib["failures"]) == len(failed)
    for child in element:
        check_junit(child)


def test_junit_xml_is_what_ci_servers_expect(tmp_path: Path) -> None:
    bad = "require('logger').info('<log> & \\0') error('<bad> & \\1 \\255')"
    app(
        tmp_path,
        entry("good", "return function() end", meta="{type: test, suite: <one>}")
        + entry("bad", f"return function() {bad} end", meta="{type: test, suite: two}")
        + entry("cases", CASES, limits="{timeout: 100ms}"),
    )
    path = tmp_path / "reports" / "junit.xml"

    ended = wippy("test", tmp_path, "--junit", path)

    root = ET.parse(path).getroot()  # noqa: S314 - our own file
    assert ended.returncode == 1
    assert root.tag == "testsuites"
    check_junit(root)
    assert [suite.get("name") for suite in root] == ["<one>", "two", "app"]
    failed = root[1][0]
    assert (failed.get("name"), failed.get("classname")) == ("app:bad", "two")
    failure = failed.find("failure")
    assert failure is not None
    assert failure.get("message") == "app:bad:1: <bad> & \ufffd \ufffd"
    assert "<log> & \ufffd" in (failed.findtext("system-out") or "")
    assert len(root[2]) == 6


def test_a_junit_file_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    app(tmp_path, entry("t", "return function() end"))
    (tmp_path / "file").write_text("")

    ended = wippy("test", tmp_path, "--junit", tmp_path / "file" / "junit.xml")

    assert ended.returncode == 1
    assert ended.stderr.startswith(f"error: {tmp_path}/file")


def test_on_a_terminal_one_line_tells_what_runs(tmp_path: Path) -> None:
    app(
        tmp_path,
        entry("a", "return function() require('time').sleep('50ms') end")
        + entry("b", "return function() error('x') end"),
    )
    with Terminal("test", str(tmp_path)) as terminal:
        assert terminal.finish() == 1
        text = terminal.raw
    assert "\r\x1b[K0/2  app:a" in text
    assert "1/2, 1 failed  app:a" in text
    assert "ok   [app] app:a" not in text
    assert "1 failed in" in text
