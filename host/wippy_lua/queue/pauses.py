"""Which queues of a host are paused: its consumers ask before they take anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wippy_lua.queue.consumer import Consumer


class Pauses:
    """The paused queues, by ID; outlives stops and starts of consumers, not the process."""

    def __init__(self, consumers: Mapping[str, Consumer]) -> None:
        self._consumers = consumers
        self._queues: set[str] = set()

    def __contains__(self, queue: object) -> bool:
        return queue in self._queues

    def pause(self, queue: str) -> None:
        """Lets no consumer of a queue take anything more; returns when none does."""
        self._queues.add(queue)
        self._apply(queue)

    def resume(self, queue: str) -> None:
        """Lets the consumers of a queue take again; raises WippyError when one cannot."""
        self._queues.discard(queue)
        self._apply(queue)

    def _apply(self, queue: str) -> None:
        for consumer in tuple(self._consumers.values()):
            if consumer.config.queue == queue:
                consumer.obey()
