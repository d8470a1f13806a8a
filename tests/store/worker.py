"""A host process for tests: `python -m tests.store.worker FOLDER SECONDS CALLS`.

Makes so many calls of `app:work` side by side and prints what each comes to; the function notes in
the file `notes` that it began, and that it ended `SECONDS` later.
"""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402 - patching comes first
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import gevent  # noqa: E402

from wippy_lua import Host  # noqa: E402


def main(folder: str, seconds: str, calls: str) -> None:
    def add(line: str) -> None:
        with Path(folder, "notes").open("a") as notes:
            notes.write(f"{line} {os.getpid()}\n")

    host = Host(folder, modules={"notes": {"add": add, "pid": os.getpid}})
    with host:
        made = [gevent.spawn(host.call, "app:work", float(seconds)) for _ in range(int(calls))]
        gevent.joinall(made, raise_error=True)
        for each in made:
            print(each.value, flush=True)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
