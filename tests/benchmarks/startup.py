"""How long a short run takes, beside a Python that only imports what nobody can do without."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.brokers import Brokers
from tests.benchmarks.cases import Case, Scale, at_most

ROOT = Path(__file__).parents[2]
HELLO = ROOT / "examples" / "hello" / "main.lua"
BARE = [sys.executable, "-c", "import gevent, lupa.lua54, yaml"]
COMMAND = [sys.executable, "-m", "wippy_lua"]


@contextmanager
def cases(_scale: Scale, _brokers: Brokers) -> Iterator[list[Case]]:
    """Gives the cases, with a folder for compiled Python: an installed package has it, too."""
    with TemporaryDirectory() as cache:
        environment = os.environ | {"PYTHONPATH": str(ROOT / "host"), "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        bare = partial(_seconds, BARE, environment)
        hello = partial(_seconds, [*COMMAND, "run", str(HELLO), "--drain"], environment)
        version = partial(_seconds, [*COMMAND, "--version"], environment)
        hello()  # compiles
        yield [
            Case("run hello --drain", hello, bare, unit="ms", goals={"": at_most(3.5)}),
            Case("--version", version, bare, unit="ms"),
        ]


def _seconds(command: Sequence[str], environment: dict[str, str]) -> dict[str, float]:
    begin = time.perf_counter()
    subprocess.run(
        command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return {"": (time.perf_counter() - begin) * 1000}
