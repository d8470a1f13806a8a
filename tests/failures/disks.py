"""Disks that are full, small or read-only."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def no_file_grows(file: Path) -> Iterator[None]:
    """Lets this process write nothing beyond the size that an SQLite file's log has now.

    It fails as on a full disk, and needs no privilege. Other files hardly notice: they are smaller.
    """
    log = file.with_name(f"{file.name}-wal")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Mounts a new file system of a size on a folder; needs privileges."""
    _run("mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder))
    try:
        yield
    finally:
        _run("umount", str(folder))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Lets nobody write below a folder, on which `small_disk` has mounted one."""
    _run("mount", "-o", "remount,ro", str(folder))
    try:
        yield
    finally:
        _run("mount", "-o", "remount,rw", str(folder))


def can_mount() -> bool:
    """Tells whether this process may mount."""
    try:
        with TemporaryDirectory() as folder, small_disk(Path(folder), "64k"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=10)
