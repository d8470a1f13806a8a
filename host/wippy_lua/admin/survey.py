"""The counts of every queue, asked for all at once and for a bounded time."""

from __future__ import annotations

from collections import Counter
from typing import Final

import gevent

from wippy_lua.errors import WippyError
from wippy_lua.log import Log
from wippy_lua.queue.driver import QueueInfo
from wippy_lua.queue.manager import QueueManager

#: Seconds that all brokers together get for their answers.
PATIENCE: Final = 2.0


class Survey:
    """Asks brokers. One that does not answer is not asked a second time meanwhile."""

    def __init__(self, manager: QueueManager, log: Log, *, patience: float = PATIENCE) -> None:
        self._manager = manager
        self._log = log
        self._patience = patience
        self._asking: dict[str, gevent.Greenlet[..., QueueInfo | None]] = {}
        #: How often a queue could not tell, by its ID.
        self.failures: Counter[str] = Counter()

    def take(self) -> dict[str, QueueInfo]:
        """Returns what queues have told in time, by ID; blocks for `patience` at most."""
        asked = {}
        # Answers that came too late the last time are of no use any more.
        self._asking = {name: asking for name, asking in self._asking.items() if not asking.ready()}
        for config in self._manager:
            if not self._manager.driver(config.id).connected:
                self.failures[config.id] += 1
                continue
            if config.id not in self._asking:
                self._asking[config.id] = gevent.spawn(self._ask, config.id)
            asked[config.id] = self._asking[config.id]
        gevent.joinall(list(asked.values()), timeout=self._patience)
        told = {name: asking.value for name, asking in asked.items() if asking.ready()}
        self.failures.update(name for name in asked if told.get(name) is None)
        return {name: info for name, info in told.items() if info is not None}

    def _ask(self, queue: str) -> QueueInfo | None:
        try:
            return self._manager.info(queue)
        except WippyError as error:
            self._log.debug("queue could not be asked", queue=queue, error=error.message)
            return None
