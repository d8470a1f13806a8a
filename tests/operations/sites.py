"""Apps with dead letters on each driver, and letters for them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import msgspec

from wippy_lua import Host
from wippy_lua.clock import SystemClock
from wippy_lua.log import NullLog
from wippy_lua.operations.local import LocalOperations
from wippy_lua.operations.opening import open_queues
from wippy_lua.operations.stored import stored_message
from wippy_lua.operations.values import StoredMessage
from wippy_lua.queue.message import TEXT, Header, Message

ORIGINAL = "x_original_queue"

#: Handles what says nothing of a fault, and lets every other message die.
HANDLER = """\
local logger = require("logger")
return function(body)
  if body.fault then
    return nil, errors.new({message = body.fault, kind = errors.INVALID, retryable = false})
  end
  logger.info("handled", {n = body.n})
end
"""
MENDED = 'local logger = require("logger")\n' + (
    'return function(body) logger.info("handled", {n = body.n}) end\n'
)


@dataclass(frozen=True, slots=True)
class Site:
    """A driver by its kind's last word, and the fields of its entry."""

    name: str
    fields: Mapping[str, object] = field(default_factory=dict)

    @property
    def can_look(self) -> bool:
        return self.name not in ("amqp", "sqs")

    def write(self, folder: Path, *, worker: bool = False) -> Path:
        """Writes an app with queues that no other test has: `tasks` and `other` die to `dead`."""
        folder.mkdir(exist_ok=True)
        mark = uuid4().hex[:12]
        dying = {"driver": "broker", "dead_letter": {"queue": "dead", "max_attempts": 1}}
        entries: list[dict[str, object]] = [
            {"name": "broker", "kind": f"queue.driver.{self.name}", **self.fields},
            {"name": "dead", "kind": "queue.queue", "driver": "broker"},
            {"name": "tasks", "kind": "queue.queue", **dying},
            {"name": "other", "kind": "queue.queue", **dying},
        ]
        for entry in entries[1:]:
            entry["queue_name"] = f"{entry['name']}-{mark}"
            if self.name == "memory":
                entry["options"] = {"max_length": 100_000}
        if worker:
            entries += _worker()
        lines = ["version: '1.0'", "namespace: app", "entries:"]
        lines += [f"- {json.dumps(entry)}" for entry in entries]
        (folder / "_index.yaml").write_text("\n".join(lines) + "\n")
        (folder / "handler.lua").write_text(HANDLER)
        return folder


@dataclass(frozen=True, slots=True)
class Repair:
    """Operations on an app, and the way to its queues beneath them."""

    operations: LocalOperations

    def bury(self, *letters: Message, queue: str = "app:dead") -> Sequence[Message]:
        """Puts letters in a queue, as they are."""
        driver = self.operations._driver(queue)
        for start in range(0, len(letters), 500):
            driver.publish(queue, letters[start : start + 500])
        return letters

    def drain(self, queue: str) -> list[tuple[Message, int]]:
        """Takes all that is ready out of a queue; returns it with its attempts."""
        driver = self.operations._driver(queue)
        found = []
        while taken := driver.take(queue, 1000):
            for delivery in taken:
                delivery.ack()
                found.append((delivery.message, delivery.attempt))
        driver.flush(queue)
        return found

    def bodies(self, queue: str) -> list[str]:
        """Takes all out of a queue; returns the bodies in their order, or sorted where it has
        none."""
        return [message.body.decode() for message, _ in self.drain(queue)]


@contextmanager
def repairing(app: Path) -> Iterator[Repair]:
    """Opens an app's queues as a command does."""
    with open_queues(app, env={}, overrides=(), clock=SystemClock(), log=NullLog()) as operations:
        yield Repair(operations)


@contextmanager
def repairing_in_host(app: Path) -> Iterator[Repair]:
    """Works inside a running host."""
    with Host(app, log=NullLog()) as host:
        yield Repair(host.operations())


def letter(body: str, original: str | None = "app:tasks", **headers: Header) -> Message:
    """Makes a dead letter as a consumer does."""
    died: dict[str, Header] = {}
    if original is not None:
        died = {
            ORIGINAL: original,
            "x_dead_letter_reason": "max_attempts",
            "x_dead_letter_time": "2026-01-02T03:04:05.678+00:00",
            "x_attempts": 3,
            "x_error_kind": "Timeout",
            "x_error": "too late",
            "x_error_stack": "handler.lua:1: in function\n  [C]: in ?",
        }
    return Message(uuid4().hex, body.encode(), TEXT, {**headers, **died}, 1_700_000_000.0)


def letters(count: int, original: str | None = "app:tasks", **headers: Header) -> list[Message]:
    """Makes letters whose bodies are numbers."""
    return [letter(str(number), original, **headers) for number in range(count)]


def shown(message: Message) -> StoredMessage:
    """Returns what is to be seen of a message, wherever it was."""
    return msgspec.convert(msgspec.to_builtins(stored_message(message)), StoredMessage)


def _worker() -> list[dict[str, object]]:
    return [
        {
            "name": "handler",
            "kind": "function.lua",
            "source": "file://handler.lua",
            "modules": ["logger"],
        },
        {
            "name": "worker",
            "kind": "queue.consumer",
            "queue": "tasks",
            "func": "handler",
            "lifecycle": {"auto_start": True},
        },
    ]
