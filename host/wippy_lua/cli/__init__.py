"""The command line `wippy-lua`.

`commands.py` has the surface; what a command does is a module of its own, imported when it runs.
"""

from __future__ import annotations

import os
import signal


def main() -> None:
    """Runs the command line and ends the process with its exit status."""
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
