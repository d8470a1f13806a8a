"""The brokers of one run: each is started when a case first needs it, and serves all after."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from tests.drivers.rabbitmq import RabbitMQ
from tests.drivers.redis.server import RedisServer


class Brokers:
    """Ends what it started when it is left."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @cached_property
    def redis(self) -> RedisServer:
        """A Redis that flushes its log once a second, its usual setting."""
        server = RedisServer(self._folder(), "--appendfsync", "everysec")
        return self._stack.enter_context(server)

    @cached_property
    def rabbitmq(self) -> RabbitMQ:
        """A RabbitMQ."""
        server = RabbitMQ(self._folder())
        self._stack.callback(server.end)
        server.start()
        return server

    def _folder(self) -> Path:
        return Path(self._stack.enter_context(TemporaryDirectory()))
