"""A host in a process of its own, for tests that kill it: `python -m tests.failures.worker FOLDER`.

Runs the folder's app until SIGTERM. Its Lua may use the module `work`, whose functions write to
files of the folder: each line is one write at the file's end, so a kill tears none.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402 - patching comes first
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402

import gevent  # noqa: E402
from gevent.event import Event  # noqa: E402

from wippy_lua import Host  # noqa: E402

#: Seconds that a handler takes, so that a kill finds some of them at work.
WORK_SECONDS = 0.001
POLL_SECONDS = 0.01


class Work:
    """What handlers can do."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
        self._handled = os.open(folder / "handled", flags)
        self._notes = os.open(folder / "notes", flags)

    def handle(self, message: str, attempt: int) -> None:
        """Works a moment, then writes down that it was done."""
        gevent.sleep(WORK_SECONDS)
        os.write(self._handled, f"{message} {attempt} {os.getpid()}\n".encode())

    def note(self, value: object) -> int:
        """Writes down a value as one line of JSON; returns how many there are now."""
        # Counted first: whoever sees the line may stop this process before it has counted.
        count = len((self._folder / "notes").read_text().splitlines()) + 1
        os.write(self._notes, json.dumps(value).encode() + b"\n")
        return count

    def wait(self, name: str) -> None:
        """Waits until there is a file of this name in the folder."""
        while not (self._folder / name).exists():
            gevent.sleep(POLL_SECONDS)

    def die(self) -> None:
        """Ends the host as the kernel's out-of-memory killer does."""
        os.kill(os.getpid(), signal.SIGKILL)

    def stall(self) -> None:
        """Holds the hub in a C function, which nothing in this process can end."""
        monkey.get_original("time", "sleep")(3600.0)


def serve(folder: Path) -> None:
    """Runs the app until SIGTERM; a file `ready-PID` says that it has started."""
    work = Work(folder)
    ended = Event()
    gevent.signal_handler(signal.SIGTERM, ended.set)
    functions: dict[str, Callable[..., object]] = {
        "handle": work.handle,
        "note": work.note,
        "wait": work.wait,
        "die": work.die,
        "stall": work.stall,
    }
    with Host(folder, modules={"work": functions}):
        (folder / f"ready-{os.getpid()}").touch()
        ended.wait()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
