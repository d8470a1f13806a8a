"""Entries to what the queue package wants to know of them."""

from __future__ import annotations

import msgspec

from wippy_lua.queue.config import ConsumerConfig, DeadLetterConfig, QueueConfig, Retry
from wippy_lua.registry.entry import Entry
from wippy_lua.registry.kinds import ConsumerSpec, FunctionSpec, HostSpec, QueueSpec
from wippy_lua.registry.registry import Registry


def queue_config(registry: Registry, entry: Entry) -> QueueConfig:
    """Returns the config of a `queue.queue`: options for its driver beat those for any."""
    spec = entry.spec_as(QueueSpec)
    driver = driver_name(registry, spec)
    dead_letter = None
    if spec.dead_letter is not None:
        dead_letter = DeadLetterConfig(spec.dead_letter.queue, spec.dead_letter.max_attempts)
    return QueueConfig(
        id=entry.id,
        driver=spec.driver,
        queue_name=spec.queue_name or entry.name,
        codec=spec.codec,
        max_message_size=spec.max_message_size,
        declare=spec.declare,
        options={**spec.options, **_driver_options(spec, driver)},
        dead_letter=dead_letter,
    )


def consumer_config(registry: Registry, entry: Entry) -> ConsumerConfig:
    """Returns the config of a `queue.consumer`, with the shorter timeout of it and its function."""
    spec = entry.spec_as(ConsumerSpec)
    queue = _entry(registry, spec.queue).spec_as(QueueSpec)
    function = _entry(registry, spec.func).spec_as(FunctionSpec)
    timeouts = [seconds for seconds in (spec.timeout, function.limits.timeout) if seconds]
    return ConsumerConfig(
        id=entry.id,
        queue=spec.queue,
        func=spec.func,
        concurrency=spec.concurrency,
        prefetch=spec.prefetch,
        auto_ack=spec.auto_ack,
        timeout=min(timeouts, default=None),
        stop_timeout=spec.lifecycle.stop_timeout,
        retry=Retry(**msgspec.structs.asdict(spec.retry)),
        options=_driver_options(spec, driver_name(registry, queue)),
    )


def host_spec(registry: Registry) -> HostSpec:
    """Returns the fields of the app's `host.config`, or their defaults when it has none."""
    return next((entry.spec_as(HostSpec) for entry in registry.find("host.config")), HostSpec())


def driver_name(registry: Registry, queue: QueueSpec) -> str:
    """Returns the short name of a queue's driver: the last part of its kind."""
    return _entry(registry, queue.driver).kind.rpartition(".")[2]


def _driver_options(spec: QueueSpec | ConsumerSpec, driver: str) -> dict[str, object]:
    return next((dict(o) for name, o in spec.driver_options.items() if name == driver), {})


def _entry(registry: Registry, entry_id: str) -> Entry:
    """Returns an entry that a checked reference names, so it is there."""
    entry = registry.get(entry_id)
    if entry is None:
        raise LookupError(f"no entry {entry_id!r}")
    return entry
