"""A Lua-first host for message queues."""

__version__ = "0.1.0"
