"""A process in which hostile scripts run beside healthy consumers.

`python -m tests.failures.arena JOB` reads a Job and prints a Report, both JSON. What runs now is in
the file `JOB.now`: when the process dies, the one that started it can name the script.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import msgspec
from lupa import lua54

from tests.failures.scripts import Ending, Script, mutate, read_scripts
from tests.failures.vitals import memory
from tests.host.apps import write_app
from tests.lua.vms import MIB, QuietDelivery
from wippy_lua import Host
from wippy_lua.call import Call
from wippy_lua.errors import Kind
from wippy_lua.log import NullLog
from wippy_lua.lua.program import Program
from wippy_lua.queue.message import Message
from wippy_lua.queue.settle import Failure, Outcome, Success
from wippy_lua.registry.entry import Source

ROOT = Path(__file__).parents[2]
JSON = 1
MEMORY = 16 * MIB  #: of a hostile function's VM
LONG_SECONDS = 60.0  #: deadline of what ends by itself, also where others use the machine
HEALTHY = 3  #: consumers beside the scripts
BEAT_SECONDS = 0.01  #: between two messages to each of them
CONTROL_SECONDS = 2.0
TRIES = 200  #: mutations until one compiles, which about each tenth does

ENTRIES = """\
- {name: memory, kind: queue.driver.memory}
- {name: tasks, kind: queue.queue, driver: memory, options: {max_length: 100}}
- {name: store, kind: store.memory, max_size: 100}
- {name: echo, kind: function.lua, source: "return function(v) return v end"}
- {name: spin, kind: function.lua, source: "return function() while true do end end",
   limits: {timeout: 50ms}}
- {name: again, kind: function.lua, modules: [funcs],
   source: "return function(id) return require('funcs').call(id, id) end"}
- {name: healthy, kind: function.lua, source: file://healthy.lua, modules: [json, watch]}
"""
CONSUMER = """\
- {{name: q{n}, kind: queue.queue, driver: memory}}
- {{name: c{n}, kind: queue.consumer, queue: q{n}, func: healthy, lifecycle: {{auto_start: true}}}}
"""
#: Everything that an escaped change of a library, a global or a metatable could have changed.
HANDLER = """\
local json, watch = require("json"), require("watch")
local names = 0
for _ in pairs(_G) do names = names + 1 end

return function(body)
  local now = 0
  for _ in pairs(_G) do now = now + 1 end
  local broken = now ~= names or evil ~= nil or getmetatable(_G) ~= nil or getmetatable("") ~= false
    or ("%d"):format(7) ~= "7" or table.concat({ 1, 2 }, ",") ~= "1,2" or math.floor(1.5) ~= 1
    or json.encode({ a = 1 }) ~= '{"a":1}' or next(json.null) ~= nil or tostring(12) ~= "12"
    or errors.new("x"):message() ~= "x" or select("#", pcall(error, "x")) ~= 2
  watch.seen(body.at, broken)
end
"""


class Job(msgspec.Struct, frozen=True):
    """What a process is to do: each script as it is, or `mutants` of them.

    `seconds` is the deadline of what need not end by itself.
    """

    scripts: list[tuple[str, str]] = []
    mutants: int = 0
    seed: int = 0
    seconds: float = 0.15


class Fight(msgspec.Struct, frozen=True):
    """How one script ended. `seconds` is what it took beyond its deadline."""

    name: str
    ending: str
    late: float
    message: str = ""


class Report(msgspec.Struct):
    """What came of a job; delays are seconds from a publish to its healthy handler."""

    fights: list[Fight] = []
    #: Scripts that printed that they had got out, and healthy calls that saw a change.
    escapes: list[str] = []
    control: list[float] = []
    delays: list[float] = []
    memory: list[int] = []


class Spy(NullLog):
    """Keeps what scripts print when they got where they must not get."""

    def __init__(self) -> None:
        self.escapes: list[str] = []

    def bind(self, **_fields: Any) -> Spy:
        return self

    def info(self, msg: str, /, **fields: Any) -> None:
        if msg.startswith("ESCAPED"):
            self.escapes.append(f"{fields.get('function')}: {msg}")


class Arena:
    """The host of this process, its healthy consumers, and what they see."""

    def __init__(self, folder: Path, report: Report) -> None:
        self.report = report
        self.spy = Spy()
        entries = ENTRIES + "".join(CONSUMER.format(n=n) for n in range(HEALTHY))
        write_app(folder, entries, healthy=HANDLER)
        self._delays = report.control
        self._compiles = compiler()
        watch = {"watch": {"seen": self._seen}}
        self._host = Host(folder, env={}, modules=watch, log=self.spy, log_level="info")
        self._functions = self._host._app.functions
        self._message = Message("m1", b"1", "application/json", {"a": "b"}, 0.0)

    def run(self, fights: Iterator[tuple[Script, float]], now: Path) -> None:
        """Measures the healthy consumers alone, then beside the scripts."""
        with self._host:
            publishers = [gevent.spawn(self._publish, f"app:q{n}") for n in range(HEALTHY)]
            gevent.sleep(CONTROL_SECONDS)
            self._delays = self.report.delays
            for script, seconds in fights:
                now.write_text(f"{script.name}\n{script.source}")
                self.report.fights.append(self._fight(script, seconds))
                self.report.memory.append(memory())
            gevent.killall(publishers)
        self.report.escapes = sorted(set(self.spy.escapes))

    def _fight(self, script: Script, seconds: float) -> Fight:
        source = Source("hostile.lua", script.source.encode())
        id_ = f"hostile:{script.name}"
        self._functions.add(Program(id_, source, memory=MEMORY, modules=None))
        begun = time.monotonic()
        outcome = self._call(id_, b'{"n": 1}', seconds)
        took = time.monotonic() - begun
        again = self._call(id_, b'"again"', seconds)
        # What stands behind an `end` too many runs whenever the script is loaded, and may fail.
        if self._compiles(script.text.encode()) and not isinstance(again, Success):
            self.spy.escapes.append(f"{script.name}: the next call failed: {again}")
        self._functions.add(Program(id_, Source("x.lua", b"return print"), modules=None))
        message = outcome.error.message[:200] if isinstance(outcome, Failure) else ""
        return Fight(script.name, _ending(outcome), took - seconds, message)

    def _call(self, id_: str, body: bytes, seconds: float) -> Outcome:
        call = Call(id_, time.monotonic() + seconds, delivery=QuietDelivery(self._message, 1))
        return self._functions.handle(call, JSON, body)

    def _publish(self, queue: str) -> None:
        while True:
            self._host.publish(queue, {"at": time.monotonic()})
            gevent.sleep(BEAT_SECONDS)

    def _seen(self, published: float, broken: bool) -> None:
        self._delays.append(time.monotonic() - published)
        if broken:
            self.spy.escapes.append("a healthy call saw a change")


def compiler() -> Callable[[bytes], bool]:
    """Returns a function that tells whether Lua takes a text."""
    test: Callable[[bytes], bool] = lua54.LuaRuntime(encoding=None).eval(
        b"function(s) return load(s, 'x', 't') ~= nil end"
    )
    return test


def _ending(outcome: Outcome) -> Ending | str:
    if isinstance(outcome, Success):
        return "harmless"
    if not isinstance(outcome, Failure):
        return type(outcome).__name__
    if outcome.error.kind is Kind.TIMEOUT and outcome.error.message.endswith(" timed out"):
        return "timeout"
    return "memory" if "reached its memory limit" in outcome.error.message else "error"


def _as_they_are(job: Job) -> Iterator[tuple[Script, float]]:
    known = {script.name: script for script in read_scripts()}
    for name, wrap in job.scripts:
        script = known[name] if wrap == "alone" else known[name].wrapped(wrap)
        ends = "timeout" not in known[name].endings
        yield script, LONG_SECONDS if ends else job.seconds


def _mutants(job: Job) -> Iterator[tuple[Script, float]]:
    compiles = compiler()
    # What a script prints says nothing once its conditions were changed.
    scripts = [replace(each, text=each.text.replace("ESCAPED", "")) for each in read_scripts()]
    for number in range(job.seed, job.seed + job.mutants):
        chance = random.Random(number)
        tries = (mutate(chance.choice(scripts), scripts, chance) for _ in range(TRIES))
        script = next(each for each in tries if compiles(each.source.encode()))
        yield replace(script, name=f"{number} of {script.name}"), job.seconds


def fight(job: Job, seconds: float) -> Report:
    """Does a job in another process; a crash or a hang is an AssertionError with the script."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job"
        path.write_bytes(msgspec.json.encode(job))
        now = path.with_suffix(".now")
        try:
            done = subprocess.run(
                [sys.executable, "-X", "faulthandler", "-m", "tests.failures.arena", str(path)],
                cwd=ROOT,
                env={"PYTHONPATH": f"{ROOT / 'host'}:{ROOT}"},
                capture_output=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise AssertionError(f"seed {job.seed}: no end in\n{now.read_text()}") from None
        assert done.returncode == 0, (
            f"seed {job.seed}: exit {done.returncode} in\n"
            f"{now.read_text() if now.exists() else ''}\n{done.stderr.decode()[-4000:]}"
        )
        return msgspec.json.decode(done.stdout, type=Report)


def main(path: Path) -> None:
    """Does the job of a file."""
    job = msgspec.json.decode(path.read_bytes(), type=Job)
    report = Report()
    with tempfile.TemporaryDirectory() as folder:
        arena = Arena(Path(folder), report)
        arena.run(_mutants(job) if job.mutants else _as_they_are(job), path.with_suffix(".now"))
    sys.stdout.buffer.write(msgspec.json.encode(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
