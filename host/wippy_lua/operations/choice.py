"""Which letters are meant: pure, from what an operator says to a test of each message."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from wippy_lua.errors import Kind, QueueNotFound, WippyError
from wippy_lua.operations.stored import ORIGINAL_QUEUE
from wippy_lua.operations.values import Selection
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.message import Header, Message


@dataclass(frozen=True, slots=True)
class Choice:
    """A dead-letter queue, and which of its letters; `limit` None is all of those."""

    holder: str
    match: tuple[tuple[str, str], ...]
    ids: frozenset[str]
    limit: int | None

    def includes(self, message: Message) -> bool:
        """Tells whether a message is meant."""
        if self.ids and message.id not in self.ids:
            return False
        return all(
            name in message.headers and as_text(message.headers[name]) == value
            for name, value in self.match
        )

    @property
    def is_everything(self) -> bool:
        """Tells whether every letter is meant, but for the limit."""
        return not self.match and not self.ids


def choose(queues: Iterable[QueueConfig], queue: str, selection: Selection) -> Choice:
    """Returns what is meant by a queue and a selection; raises WippyError as `Operations` says."""
    if selection.limit is not None and selection.limit < 1:
        raise _invalid(f"limit must be at least 1, not {selection.limit}")
    configs = {config.id: config for config in queues}
    if queue not in configs:
        raise QueueNotFound(queue)
    match = tuple(selection.match.items())
    ids = frozenset(selection.ids)
    named = {c.dead_letter.queue for c in configs.values() if c.dead_letter is not None}
    dead_letter = configs[queue].dead_letter
    if queue in named:
        return Choice(queue, match, ids, selection.limit)
    if dead_letter is None:
        raise _invalid(f"{queue} is no dead-letter queue, and has none")
    match = ((ORIGINAL_QUEUE, queue), *match)
    return Choice(dead_letter.queue, match, ids, selection.limit)


def as_text(value: Header) -> str:
    """Returns a header's value as an operator writes it: numbers and booleans as in JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _invalid(message: str) -> WippyError:
    return WippyError(message, kind=Kind.INVALID, retryable=False)
