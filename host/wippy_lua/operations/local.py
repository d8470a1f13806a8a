"""Operations on the queues of this process: those of a running host, or opened for one command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from wippy_lua.clock import Clock
from wippy_lua.errors import Kind, WippyError
from wippy_lua.operations.contract import MAX_PEEK, NOTHING_SPECIAL
from wippy_lua.operations.letters import Letters, Prepare
from wippy_lua.operations.stored import published_data, stored_message
from wippy_lua.operations.values import (
    Progress,
    Publication,
    QueueStatus,
    Selection,
    StoredMessage,
)
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.driver import Driver, QueueInfo
from wippy_lua.queue.manager import PublishOptions, QueueManager
from wippy_lua.queue.pauses import Pauses
from wippy_lua.registry.registry import Registry


class LocalOperations:
    """`Operations`, done here. Belongs to the hub of the manager.

    Without `pauses` no host runs. `prepare` is asked before a queue is touched.
    """

    def __init__(
        self,
        manager: QueueManager,
        registry: Registry,
        clock: Clock,
        *,
        pauses: Pauses | None = None,
        prepare: Prepare = lambda _queue: None,
    ) -> None:
        self._manager = manager
        self._registry = registry
        self._pauses = pauses
        self._prepare = prepare
        self._letters = Letters(manager, prepare, clock)

    def queues(self) -> Sequence[QueueStatus]:
        configs = sorted(self._manager, key=lambda config: config.id)
        infos = {config.id: self._ask(config.id) for config in configs}
        return [self._status(config, infos) for config in configs]

    def queue(self, queue: str) -> QueueStatus:
        config = self._manager.config(queue)
        named = [queue] if config.dead_letter is None else [queue, config.dead_letter.queue]
        return self._status(config, {each: self._ask(each) for each in named})

    def peek(self, queue: str, limit: int) -> Sequence[StoredMessage]:
        check_limit(limit)
        return [stored_message(m) for m in self._driver(queue).peek(queue, limit)]

    def publish(self, queue: str, publication: Publication) -> str:
        data = published_data(publication)
        message = self._manager.encode(queue, data, publication.headers, publication.id)
        self._prepare(queue)
        options = PublishOptions(
            delay=publication.delay, ttl=publication.ttl, timeout=publication.timeout
        )
        self._manager.publish(queue, (message,), options)
        return message.id

    def purge(self, queue: str) -> int:
        return self._driver(queue).purge(queue)

    def pause(self, queue: str) -> None:
        self._running_host(queue).pause(queue)

    def resume(self, queue: str) -> None:
        self._running_host(queue).resume(queue)

    def dead_letters(
        self, queue: str, selection: Selection = NOTHING_SPECIAL
    ) -> Sequence[StoredMessage]:
        return self._letters.show(queue, selection, MAX_PEEK)

    def replay(
        self,
        queue: str,
        selection: Selection = NOTHING_SPECIAL,
        *,
        rate: float | None = None,
        dry_run: bool = False,
    ) -> Iterator[Progress]:
        return self._letters.replay(queue, selection, rate=rate, dry_run=dry_run)

    def drop(
        self, queue: str, selection: Selection = NOTHING_SPECIAL, *, dry_run: bool = False
    ) -> Iterator[Progress]:
        return self._letters.drop(queue, selection, dry_run=dry_run)

    def _driver(self, queue: str) -> Driver:
        driver = self._manager.driver(queue)
        self._prepare(queue)
        return driver

    def _running_host(self, queue: str) -> Pauses:
        self._manager.config(queue)
        if self._pauses is None:
            raise WippyError(
                "only the running host can pause and resume its consumers: ask it with --admin"
                " HOST:PORT, where `wippy-lua run --admin HOST:PORT` lets it listen",
                kind=Kind.INVALID,
                retryable=False,
            )
        return self._pauses

    def _ask(self, queue: str) -> QueueInfo | WippyError:
        try:
            return self._driver(queue).info(queue)
        except WippyError as error:
            return error

    def _status(
        self, config: QueueConfig, infos: Mapping[str, QueueInfo | WippyError]
    ) -> QueueStatus:
        driver = self._registry.get(config.driver)
        info = infos[config.id]
        dead = None if config.dead_letter is None else config.dead_letter.queue
        status = QueueStatus(
            id=config.id,
            driver=config.driver,
            driver_kind="" if driver is None else driver.kind,
            dead_letter_queue=dead,
            dead_letters=None if dead is None else _depth(infos.get(dead)),
            paused=None if self._pauses is None else config.id in self._pauses,
        )
        if isinstance(info, WippyError):
            return replace(status, error=info.message)
        return replace(
            status,
            ready=info.ready,
            in_flight=info.in_flight,
            delayed=info.delayed,
            depth=_depth(info),
            oldest_age=info.oldest_age,
            consumers=info.consumer_count,
            approximate=info.approximate,
        )


def check_limit(limit: int) -> None:
    """Raises WippyError of kind INVALID for a number of messages that is not 1 to MAX_PEEK."""
    if not 1 <= limit <= MAX_PEEK:
        raise WippyError(f"limit must be from 1 to {MAX_PEEK}, not {limit}", kind=Kind.INVALID)


def _depth(info: QueueInfo | WippyError | None) -> int | None:
    if not isinstance(info, QueueInfo):
        return None
    if info.message_count is not None:
        return info.message_count
    return info.ready + (info.in_flight or 0) + (info.delayed or 0)
