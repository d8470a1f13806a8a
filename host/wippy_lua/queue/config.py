"""What a queue and a consumer were configured to do, validated and free of YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Codec = Literal["json/plain", "application/msgpack"]


@dataclass(frozen=True, slots=True)
class Retry:
    """Backoff before the next attempt; delays in seconds, `jitter` a share of the delay."""

    initial_delay: float = 0.1
    max_delay: float = 30.0
    backoff_factor: float = 2.0
    jitter: float = 0.1


@dataclass(frozen=True, slots=True)
class DeadLetterConfig:
    """Where a message goes after `max_attempts` deliveries; `queue` is a queue ID."""

    queue: str
    max_attempts: int


@dataclass(frozen=True, slots=True)
class QueueConfig:
    """One logical queue. `options` are the general options overlaid by those of its driver."""

    id: str
    driver: str
    queue_name: str
    codec: Codec = "json/plain"
    max_message_size: int = 16 * 1024 * 1024
    declare: bool = True
    options: Mapping[str, object] = field(default_factory=dict)
    dead_letter: DeadLetterConfig | None = None


@dataclass(frozen=True, slots=True)
class ConsumerConfig:
    """One consumer: which function handles which queue, and how many at a time.

    `timeout` is seconds of wall time for one call; None is no limit.
    """

    id: str
    queue: str
    func: str
    concurrency: int = 1
    prefetch: int = 10
    auto_ack: bool = False
    timeout: float | None = 600.0
    stop_timeout: float = 10.0
    retry: Retry = Retry()
    options: Mapping[str, object] = field(default_factory=dict)
