"""The command line `wippy-lua`.

`commands.py` and `operators.py` have the surface; what a command does is a module of its own,
imported when it runs.
"""

from __future__ import annotations

import os
import signal

#: What a shell sets to be told how a line could go on, as click makes it of the command's name.
VARIABLE = "_WIPPY_LUA_COMPLETE"


def main() -> None:
    """Runs the command line and ends the process with its exit status."""
    if VARIABLE in os.environ:
        complete()

    # Until somebody listens to signals there is nothing to end with care.
    signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))

    # Before anything that may hold on to a function that blocks the hub.
    from wippy_lua.cli import startup

    startup.patch()

    from wippy_lua.cli.commands import cli
    from wippy_lua.cli.signals import Signals

    signals = Signals()
    signals.watch()
    cli(prog_name="wippy-lua", obj=signals)


def complete() -> None:
    """Answers a shell that asks how a line could go on, and ends the process."""
    from wippy_lua.cli.commands import cli
    from wippy_lua.cli.completion import answer

    answer(cli)
