"""Draws the README's screens from a real run: `python -m tests.screens [FOLDER]`.

Runs the example of dead letters on an SQLite file, then the real commands on a terminal of their
own, and has rich export what they drew.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Final

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from tests.cli.terminal import Terminal
from tests.examples.running import COMMAND, EXAMPLES, ROOT, environment

SCREENS: Final = ROOT / "host" / "screens"
APP: Final = EXAMPLES / "retry_and_dead_letter"
COLUMNS: Final = 100
#: Without the fonts that rich would have every reader fetch from another place.
FORMAT: Final = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)

#: What is run for each screen, as a reader would type it.
COMMANDS: Final = {
    "queue_ls": ("queue", "ls"),
    "dlq_show": ("dlq", "show", "app:jobs", "--match", "x_error_kind=NotFound"),
}


def draw_all(folder: Path) -> list[Path]:
    """Writes all screens into a folder; returns their files."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        fields = ("kind=queue.driver.sqlite", f"file={scratch}/queue.db")
        place = [word for each in fields for word in ("--set", f"app:memory.{each}")]
        let_jobs_die(place)
        return [draw(folder / f"{name}.svg", COMMANDS[name], place) for name in COMMANDS]


def let_jobs_die(place: Sequence[str]) -> None:
    """Runs the example without its consumer of dead letters, and leaves some jobs to be done."""
    idle = ("--set", "app:failed_jobs_consumer.lifecycle.auto_start=false")
    _run("run", str(APP), "--drain", "--log-level", "error", *place, *idle)
    for number, delay in enumerate(("0", "0", "10m")):
        job = f'{{"case": "third_attempt", "n": {number}}}'
        _run("publish", "app:jobs", job, "--delay", delay, "--app", str(APP), *place)


def draw(file: Path, words: Sequence[str], place: Sequence[str]) -> Path:
    """Runs a command on a terminal and writes what it drew."""
    with Terminal(*words, "--app", str(APP), *place, columns=COLUMNS) as terminal:
        if terminal.finish() != 0:
            raise RuntimeError(terminal.text)
    console = Console(record=True, width=COLUMNS, file=StringIO())
    console.print(Text.from_ansi(terminal.raw.replace("\r\n", "\n").rstrip()))
    title = " ".join(("wippy-lua", *words))
    file.write_text(console.export_svg(title=title, code_format=FORMAT))
    return file


def _run(*words: str) -> None:
    subprocess.run([*COMMAND, *words], check=True, env=environment(), capture_output=True)


if __name__ == "__main__":
    for written in draw_all(Path(sys.argv[1]) if len(sys.argv) > 1 else SCREENS):
        print(written)  # noqa: T201 - it is a command
