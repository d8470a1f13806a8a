"""Lines that others are still writing."""

from __future__ import annotations

from pathlib import Path

from tests.lines import lines_of


def test_a_line_that_is_half_written_is_not_seen_yet(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    assert lines_of(path) == []
    path.write_bytes(b"1 a\n2")
    assert lines_of(path) == ["1 a"]
    path.write_bytes(b"1 a\n2 b\n")
    assert lines_of(path) == ["1 a", "2 b"]
