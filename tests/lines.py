"""Files of lines that other processes append to while they are read."""

from __future__ import annotations

from pathlib import Path


def whole_lines(read: bytes) -> bytes:
    """Returns all but an unfinished last line: one that crosses a page may be seen half written."""
    return read[: read.rfind(b"\n") + 1]


def lines_of(path: Path) -> list[str]:
    """Returns the finished lines of a file; none when there is no file yet."""
    return whole_lines(path.read_bytes()).decode().splitlines() if path.exists() else []
