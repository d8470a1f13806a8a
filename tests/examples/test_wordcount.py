"""The word count agrees with a plain one, file for file and word for word."""

from __future__ import annotations

import os
import re
import sysconfig
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.examples.running import Line, run_command, run_example, with_message

pytestmark = pytest.mark.once  # its apps are processes of their own

IGNORED = {"site-packages", "dist-packages", "__pycache__"}


@dataclass(frozen=True)
class Count:
    """What there is to count in a folder."""

    files: int
    size: int
    words: Counter[bytes]

    def top(self, limit: int) -> list[tuple[str, int]]:
        """Returns the most frequent words; of those as frequent, the alphabetically first."""
        ordered = sorted(self.words.items(), key=lambda item: (-item[1], item[0]))
        return [(word.decode(), count) for word, count in ordered[:limit]]


def python_files(folder: Path) -> Iterator[Path]:
    """Yields the Python files below a folder, those that a link leads out to left aside."""
    for parent, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if each not in IGNORED]
        for file in (Path(parent, name) for name in files if name.endswith(".py")):
            if file.is_file() and file.resolve().is_relative_to(folder.resolve()):
                yield file


def count_plainly(folder: Path, part: str = "") -> Count:
    files = size = 0
    words: Counter[bytes] = Counter()
    for file in python_files(folder):
        if part in file.relative_to(folder).as_posix():
            data = file.read_bytes()
            words.update(re.findall(rb"[A-Za-z]+", data.lower()))
            files, size = files + 1, size + len(data)
    return Count(files, size, words)


def count_with_example(folder: Path, *arguments: str, timeout: float = 30) -> list[Line]:
    env = {"WORDCOUNT_DIR": str(folder)}
    return run_example("wordcount", "--", *arguments, env=env, timeout=timeout)


def assert_agrees(lines: list[Line], expected: Count, top: int) -> None:
    (total,) = with_message(lines, "words counted")
    assert total["files"] == expected.files
    assert total["bytes"] == expected.size
    assert total["words"] == expected.words.total()
    assert total["distinct"] == len(expected.words)
    shown = [(line["word"], line["count"]) for line in with_message(lines, "top word")]
    assert shown == expected.top(top)


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


FILES = {
    "a.py": b"Import os\nimport os_path  # \xc3\xa9t\xc3\xa9, \xff\x00 x1y\n",
    "empty.py": b"",
    "numbers.py": b"1 2 3\n",
    "deep/er/b.py": b"x = importOS\r\nx" * 40,
    "deep/notes.txt": b"not counted",
    "site-packages/c.py": b"ignored ignored",
    "__pycache__/d.py": b"ignored",
}


def test_small_folder_is_counted_as_by_hand(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    assert_agrees(count_with_example(tmp_path, "3"), count_plainly(tmp_path), top=3)


def test_second_argument_limits_the_files_by_their_path(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    expected = count_plainly(tmp_path, "deep/")
    assert expected.files == 1
    assert_agrees(count_with_example(tmp_path, "3", "deep/"), expected, top=3)


def test_argument_that_is_no_number_fails_with_the_usage(tmp_path: Path) -> None:
    env = {"WORDCOUNT_DIR": str(tmp_path)}
    ended = run_command("run", "wordcount", "--drain", "--", "many", env=env)
    assert ended.returncode == 1
    assert "usage: wippy-lua run examples/wordcount" in ended.stderr


def test_standard_library_of_this_python_is_counted_exactly_and_within_a_minute() -> None:
    folder = Path(sysconfig.get_path("stdlib"))
    lines = count_with_example(folder, "10", timeout=90)
    assert_agrees(lines, count_plainly(folder), top=10)
    assert with_message(lines, "words counted")[0]["seconds"] < 60
