"""A host and a fork: made before it is fine, started before it is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.examples.running import environment
from tests.host.apps import write_app

ENTRIES = """\
- {name: memory, kind: queue.driver.memory}
- {name: work, kind: queue.queue, driver: memory, dead_letter: {queue: failed, max_attempts: 1}}
- {name: failed, kind: queue.queue, driver: memory}
- {name: consumer, kind: queue.consumer, queue: work, func: f, lifecycle: {auto_start: true}}
- {name: f, kind: function.lua, source: file://f.lua}
"""
FUNCTION = "return function(a) return a end"

#: Forks and runs `child` there; ends with the child's exit status.
PROGRAM = """\
import os, sys
from wippy_lua import Host, Kind, WippyError
from wippy_lua.log import NullLog

host = Host(sys.argv[1], log=NullLog())
{before}

child = os.fork()
if child:
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    {after}
    sys.exit(status)

def refused(verb):
    try:
        verb()
    except WippyError as error:
        return error.kind is Kind.INVALID and f"runs in process {{os.getppid()}}" in error.message

{child}
"""


def run_program(folder: Path, **parts: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-c",
            PROGRAM.format(**parts),
            str(write_app(folder, ENTRIES, f=FUNCTION)),
        ],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


STARTED = """\
verbs = [
    host.start,
    lambda: host.publish("app:work", {"n": 1}),
    lambda: host.call("app:f", 1),
    lambda: host.info("app:work"),
    lambda: host.start_service("app:consumer"),
    lambda: host.stop_service("app:consumer"),
    host.run_main,
]
results = [refused(verb) for verb in verbs]
host.stop()  # quiet: nothing here is the child's to stop
print(results)
sys.exit(0 if results == [True] * len(verbs) else 1)
"""


def test_every_verb_of_a_host_started_before_a_fork_is_refused_in_the_child(tmp_path: Path) -> None:
    after = "assert host.call('app:f', 7) == 7; host.stop()"
    ended = run_program(tmp_path, before="host.start()", after=after, child=STARTED)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_host_made_before_a_fork_runs_in_the_child(tmp_path: Path) -> None:
    child = 'with host:\n    sys.exit(0 if host.call("app:f", 7) == 7 else 1)'
    ended = run_program(tmp_path, before="", after="pass", child=child)
    assert ended.returncode == 0, ended.stdout + ended.stderr
