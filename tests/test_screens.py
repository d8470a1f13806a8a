"""The command that draws the README's screens."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.screens import COMMANDS, SCREENS, draw_all

README = Path(__file__).parents[1] / "README.md"


def text_of(file: Path) -> str:
    """Returns what a screen shows."""
    root = ET.fromstring(file.read_text())  # noqa: S314 - we have just written it
    return re.sub(r"\s+", " ", " ".join(root.itertext()).replace("\xa0", " "))


def test_screens_are_drawn_from_a_real_run(tmp_path: Path) -> None:
    queues, letter = map(text_of, draw_all(tmp_path))
    assert "wippy-lua queue ls" in queues
    assert re.search(r"app:jobs sqlite 3 2 0 1", queues), queues
    assert re.search(r"app:failed_jobs sqlite 5 5 0 0", queues), queues
    assert "no such printer" in letter
    assert '"not_retryable"' in letter


def test_the_readme_shows_the_screens() -> None:
    for name in COMMANDS:
        file = SCREENS / f"{name}.svg"
        assert f"host/screens/{name}.svg" in README.read_text()
        assert "url(http" not in file.read_text()  # nothing that a reader would have to fetch
