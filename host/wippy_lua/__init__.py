"""A Lua-first host for message queues."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wippy_lua.errors import CallError, ConfigError, Kind, QueueNotFound, WippyError
    from wippy_lua.host import Host

__version__ = "0.1.0"

__all__ = ["CallError", "ConfigError", "Host", "Kind", "QueueNotFound", "WippyError", "__version__"]


def __getattr__(name: str) -> object:
    # Loaded at first use: the command line has to patch before the host's modules are there, and
    # a command that needs no host should not wait for one.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{'host' if name == 'Host' else 'errors'}"), name)
