"""Reading what an app consists of, bounded: `_index.yaml` files and the Lua they name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

INDEX = "_index.yaml"
MAX_FILE_SIZE = 4 * 1024 * 1024  #: bytes of one file

_SKIPPED = frozenset({"node_modules"})


def index_files(folder: Path, on_error: Callable[[OSError], None]) -> list[Path]:
    """Returns every `_index.yaml` at and below the folder, in sorted order, a folder before its
    own folders; hidden folders and `node_modules` are not the app's."""
    found: list[Path] = []
    for parent, folders, files in os.walk(folder, onerror=on_error):
        folders[:] = sorted(name for name in folders if name[0] != "." and name not in _SKIPPED)
        if INDEX in files:
            found.append(Path(parent) / INDEX)
    return found


def read_file(path: Path) -> bytes:
    """Returns the bytes of a regular file; raises `ValueError` whose message says why it can't."""
    if "\0" in str(path):
        raise ValueError("is not a path")
    try:
        # Opening a pipe or a device could block for ever, or never end.
        if path.exists() and not path.is_file():
            raise ValueError("is not a file")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_SIZE:
        raise ValueError(f"is larger than {MAX_FILE_SIZE // 1024**2}MiB")
    return data


def display_name(path: Path, root: Path) -> str:
    """Returns the path relative to the app's folder, or as it is when it lies outside."""
    relative = os.path.relpath(path, root)
    return path.as_posix() if relative.startswith("..") else Path(relative).as_posix()
