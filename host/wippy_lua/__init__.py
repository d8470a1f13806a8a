"""A Lua-first host for message queues."""

from wippy_lua.errors import CallError, ConfigError, Kind, QueueNotFound, WippyError
from wippy_lua.host import Host

__version__ = "0.1.0"

__all__ = ["CallError", "ConfigError", "Host", "Kind", "QueueNotFound", "WippyError", "__version__"]
