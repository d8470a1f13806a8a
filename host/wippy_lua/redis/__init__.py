"""A Redis server: connections to it, and what they take.

Only `wire` imports redis-py, so that `needed_by` can say what to install.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex

from gevent.monkey import is_module_patched

from wippy_lua.errors import Kind, WippyError


@contextmanager
def needed_by(kind: str) -> Iterator[None]:
    """Turns the import of a redis-py that is not there into a WippyError with the cure."""
    try:
        yield
    except ModuleNotFoundError as missing:
        if missing.name not in ("redis", "hiredis"):
            raise
        raise WippyError(
            f'{kind} needs redis-py: pip install "wippy-lua[redis]"',
            kind=Kind.INVALID,
            retryable=False,
        ) from missing


def check_patched(kind: str) -> None:
    """Raises WippyError in a process whose sockets would block the hub."""
    if not is_module_patched("socket"):
        raise WippyError(
            f"{kind} needs a patched process: call gevent.monkey.patch_all() before"
            " anything else is imported (the wippy-lua command does)",
            kind=Kind.INVALID,
            retryable=False,
        )


def identity() -> str:
    """Returns a name for a connection's owner that no other one has, on any machine."""
    return f"{socket.gethostname()}:{os.getpid()}:{token_hex(4)}".replace(" ", "-")
