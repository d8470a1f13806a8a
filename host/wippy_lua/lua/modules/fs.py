"""Host side of the Lua module `fs`: folders that Lua may read, and no way out of them.

A path is cleaned as text first, then its symlinks are resolved, and what leads out is refused. The
result has no symlinks, so it is opened folder by folder with each of them forbidden: a link that
somebody puts there in between is refused as well.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import TypeVar

import gevent
import msgspec

from wippy_lua.call import Call
from wippy_lua.errors import Kind, WippyError
from wippy_lua.lua.runtime import HostFunction

MIB = 1024 * 1024
MAX_FILE_BYTES = 16 * MIB  #: of a file that is read as a whole
MAX_ENTRIES = 100_000  #: of a folder that is listed

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode

_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A FIFO opens at once instead of waiting for a writer, and is refused then.
_FILE_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


class FsModule:
    """The functions that stdlib/fs.lua calls; `folders` are by ID, and may still grow.

    Files are read by threads: a slow disk holds up only the handlers that wait for it.
    """

    def __init__(self, folders: Mapping[str, Folder]) -> None:
        self._folders = folders

    def functions(self) -> Mapping[str, HostFunction]:
        """Returns the host functions by the names that the Lua side uses."""
        return {
            "open": self.open,
            "readdir": self.readdir,
            "readfile": self.readfile,
            "stat": self.stat,
        }

    def open(self, _call: Call, folder: bytes) -> bool:
        """Returns true when the folder exists."""
        self._folder(folder)
        return True

    def readdir(self, _call: Call, folder: bytes, path: bytes) -> bytes:
        """Returns a packed list of packed entries: a script need not unpack all of them at once."""
        found = self._folder(folder)
        return _off_hub(lambda: _encode([_encode(entry) for entry in found.readdir(path)]))

    def readfile(self, _call: Call, folder: bytes, path: bytes) -> bytes:
        """Returns a file's contents."""
        found = self._folder(folder)
        return _off_hub(lambda: found.readfile(path))

    def stat(self, _call: Call, folder: bytes, path: bytes) -> bytes:
        """Returns what is known of a file or folder, packed."""
        found = self._folder(folder)
        return _off_hub(lambda: _encode(found.stat(path)))

    def _folder(self, name: bytes) -> Folder:
        folder_id = name.decode("utf-8", "replace")
        folder = self._folders.get(folder_id)
        if folder is None:
            raise WippyError(
                f"directory {folder_id!r} not found",
                kind=Kind.NOT_FOUND,
                retryable=False,
                details={"directory": folder_id},
            )
        return folder


class Folder:
    """A folder to read from; every path is relative to it, absolute ones too. Blocks on the disk.

    All methods raise WippyError: NOT_FOUND, INVALID for what cannot be read so, PERMISSION_DENIED
    for what leads out of the folder or may not be read.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.fsencode(root)

    def readdir(self, path: bytes) -> list[dict[str, object]]:
        """Returns name, type and size of everything in a folder, sorted by name."""
        with _translated(path), self._parent(path) as (parent, name):
            folder = os.open(name, _FOLDER_FLAGS, dir_fd=parent)
            try:
                # By descriptor, which pathlib has no way for.
                names = [os.fsencode(each) for each in os.listdir(folder)]  # noqa: PTH208
                if len(names) > MAX_ENTRIES:
                    raise _invalid(f"{_shown(path)} has over {MAX_ENTRIES} entries")
                return [self._entry(folder, path, each) for each in sorted(names)]
            finally:
                os.close(folder)

    def readfile(self, path: bytes) -> bytes:
        """Returns the contents of a regular file of at most 16 MiB."""
        with _translated(path), self._parent(path) as (parent, name):
            # Looked at before it is opened: opening alone can do something to a device.
            _check_readable(os.stat(name, dir_fd=parent, follow_symlinks=False), path)
            file = os.open(name, _FILE_FLAGS, dir_fd=parent)
            try:
                _check_readable(os.fstat(file), path)
                return _read(file, path)
            finally:
                os.close(file)

    def stat(self, path: bytes) -> dict[str, object]:
        """Returns name, type, size, is_dir, and when it was modified, in Unix seconds."""
        with _translated(path), self._parent(path) as (parent, name):
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        parts = _parts(path)
        return {
            "name": parts[-1] if parts else b"/",
            "type": _type(status.st_mode),
            "size": status.st_size,
            "modified": int(status.st_mtime),
            "is_dir": S_ISDIR(status.st_mode),
        }

    @contextmanager
    def _parent(self, path: bytes) -> Iterator[tuple[int, bytes]]:
        """Opens the folder that `path` is in; yields it with the name to open there."""
        root, parts = self._resolve(path)
        folder = os.open(root, _FOLDER_FLAGS)
        try:
            for part in parts[:-1]:
                above, folder = folder, os.open(part, _FOLDER_FLAGS, dir_fd=folder)
                os.close(above)
            yield folder, parts[-1] if parts else b"."
        finally:
            os.close(folder)

    def _resolve(self, path: bytes) -> tuple[bytes, list[bytes]]:
        """Returns the root and the parts of a path below it, without symlinks."""
        root = os.path.realpath(self._root)
        target = os.path.realpath(b"/".join((root, *_parts(path))))
        if os.path.commonpath((root, target)) != root:
            raise _denied(path)
        return root, [part for part in target[len(root) :].split(b"/") if part]

    def _entry(self, folder: int, path: bytes, name: bytes) -> dict[str, object]:
        status = self._status(folder, path, name)
        if status is None:
            return {"name": name, "type": "other", "size": 0}
        return {"name": name, "type": _type(status.st_mode), "size": status.st_size}

    def _status(self, folder: int, path: bytes, name: bytes) -> os.stat_result | None:
        """Looks at one entry; None when it is gone, or a link to nothing or out of the folder."""
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not S_ISLNK(status.st_mode):
                return status
            with self._parent(path + b"/" + name) as (parent, target):
                return os.stat(target, dir_fd=parent, follow_symlinks=False)
        except (OSError, WippyError):
            return None


def _off_hub(function: Callable[[], T]) -> T:
    """Runs a function in a thread of gevent's pool, and blocks only the calling greenlet."""

    def run() -> T | WippyError:
        # Handed back as a value: gevent prints the traceback of what a thread raises.
        try:
            return function()
        except WippyError as error:
            return error

    result: T | WippyError = gevent.get_hub().threadpool.apply(run)
    if isinstance(result, WippyError):
        raise result
    return result


def _read(file: int, path: bytes) -> bytes:
    """Reads to the end, which may have moved since the size was looked at."""
    with open(file, "rb", closefd=False) as reader:
        content = reader.read(MAX_FILE_BYTES + 1)
    _check_size(len(content), path)
    return content


def _parts(path: bytes) -> list[bytes]:
    """Cleans a path as text: ".." takes back the part before it, and never more than there is."""
    if not path or b"\0" in path:
        raise _invalid("path must be a non-empty string without NUL bytes")
    parts: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            if not parts:
                raise _denied(path)
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    return parts


def _check_readable(status: os.stat_result, path: bytes) -> None:
    if S_ISDIR(status.st_mode):
        raise _invalid(f"{_shown(path)} is a directory")
    if not S_ISREG(status.st_mode):
        raise _invalid(f"{_shown(path)} is no regular file")
    _check_size(status.st_size, path)


def _check_size(size: int, path: bytes) -> None:
    if size > MAX_FILE_BYTES:
        raise _invalid(f"{_shown(path)} is larger than {MAX_FILE_BYTES // MIB} MiB, the limit")


def _type(mode: int) -> str:
    if S_ISREG(mode):
        return "file"
    return "directory" if S_ISDIR(mode) else "other"


@contextmanager
def _translated(path: bytes) -> Iterator[None]:
    """Makes a WippyError of what the system says of a path."""
    try:
        yield
    except OSError as error:
        kind = _KINDS.get(error.errno or 0, Kind.INTERNAL)
        message = f"{_shown(path)}: {os.strerror(error.errno or 0)}"
        raise WippyError(message, kind=kind, retryable=kind is Kind.UNAVAILABLE) from error


_KINDS: Mapping[int, Kind] = {
    errno.ENOENT: Kind.NOT_FOUND,
    errno.ENOTDIR: Kind.INVALID,
    errno.ENAMETOOLONG: Kind.INVALID,
    errno.EACCES: Kind.PERMISSION_DENIED,
    errno.EPERM: Kind.PERMISSION_DENIED,
    errno.ELOOP: Kind.PERMISSION_DENIED,
    errno.EMFILE: Kind.UNAVAILABLE,
    errno.ENFILE: Kind.UNAVAILABLE,
    errno.EIO: Kind.UNAVAILABLE,
}


def _shown(path: bytes) -> str:
    return repr(path[:256].decode("utf-8", "replace"))


def _invalid(message: str) -> WippyError:
    return WippyError(message, kind=Kind.INVALID, retryable=False)


def _denied(path: bytes) -> WippyError:
    return WippyError(
        f"{_shown(path)} leads out of the directory", kind=Kind.PERMISSION_DENIED, retryable=False
    )
