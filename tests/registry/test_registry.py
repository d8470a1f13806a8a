"""Lookup, order, entries that no file declares, and the configs made of entries."""

from __future__ import annotations

import pytest

from tests.registry.apps import SPEC_INDEX, App
from wippy_lua.errors import ConfigError
from wippy_lua.queue.config import ConsumerConfig, DeadLetterConfig, QueueConfig, Retry
from wippy_lua.registry.configs import consumer_config, host_spec, queue_config
from wippy_lua.registry.entry import Entry
from wippy_lua.registry.registry import Registry


@pytest.fixture
def registry(app: App) -> Registry:
    app.write("_index.yaml", SPEC_INDEX)
    app.write("task_handler.lua", "return function() end")
    return app.load()


def entry_of(registry: Registry, entry_id: str) -> Entry:
    entry = registry.get(entry_id)
    assert entry is not None
    return entry


def test_entries_are_found_by_id_and_by_kind(registry: Registry) -> None:
    assert "app.queue:tasks" in registry
    assert registry.get("app.queue:nothing") is None
    assert [entry.name for entry in registry.find("queue.driver")] == ["memory_driver"]
    assert [entry.name for entry in registry.find("queue.queue")] == ["tasks"]
    assert len(registry.find("queue")) == 3
    assert registry.find("que") == []


def test_a_consumer_depends_on_its_queue_and_its_function(registry: Registry) -> None:
    assert registry.dependencies("app.queue:task_consumer") == (
        "app.queue:tasks",
        "app.queue:task_handler",
    )


def test_dependencies_start_on_a_level_before(registry: Registry) -> None:
    assert registry.start_order() == [
        ["app.queue:memory_driver", "app.queue:task_handler"],
        ["app.queue:tasks"],
        ["app.queue:task_consumer"],
    ]
    assert registry.start_order(["app.queue:tasks"]) == [
        ["app.queue:memory_driver"],
        ["app.queue:tasks"],
    ]
    with pytest.raises(KeyError):
        registry.start_order(["app.queue:nothing"])


def test_a_dead_letter_queue_starts_before_its_queue(registry: Registry) -> None:
    registry.add("app.queue:dead", "queue.queue", {"driver": "memory_driver"})
    fields = {"driver": "memory_driver", "dead_letter": {"queue": "dead", "max_attempts": 2}}
    registry.add("app.queue:mail", "queue.queue", fields)
    levels = registry.start_order(["app.queue:mail"])
    assert levels[1:] == [["app.queue:dead"], ["app.queue:mail"]]


def test_an_added_entry_is_checked_like_any_other(registry: Registry) -> None:
    with pytest.raises(ConfigError) as caught:
        registry.add(
            "app.queue:mail",
            "queue.queue",
            {"driver": "memory_drivr", "declare": "maybe"},
            origin="main.lua",
        )
    assert [str(problem) for problem in caught.value.problems] == [
        "main.lua: app.queue:mail: declare must be true or false, not 'maybe'",
        "main.lua: app.queue:mail: driver refers to 'app.queue:memory_drivr', "
        "which does not exist; did you mean 'app.queue:memory_driver'?",
    ]
    assert "app.queue:mail" not in registry


ADD_PROBLEMS = [
    ("mail", {}, "mail: 'mail' is not an ID: 'namespace:name'"),
    ("app.queue:tasks", {"driver": "memory_driver"}, "app.queue:tasks: duplicate ID, first"),
    ("app.queue:q", {"driver": b"d"}, "app.queue:q: a bytes cannot be configured"),
    ("app.queue:q", {"driver": {1: 2}}, "app.queue:q: keys must be strings, not 1"),
    (
        "app.queue:q",
        {"driver": "memory_driver", "dead_letter": {"queue": "q", "max_attempts": 1}},
        "app.queue:q: dead-letter loop: app.queue:q -> app.queue:q",
    ),
]


@pytest.mark.parametrize(("entry_id", "fields", "problem"), ADD_PROBLEMS)
def test_what_cannot_be_added_is_a_config_error(
    registry: Registry, entry_id: str, fields: dict[str, object], problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        registry.add(entry_id, "queue.queue", fields)
    assert str(caught.value).startswith(problem)
    assert len(registry) == 4


def test_a_table_that_contains_itself_cannot_be_added(registry: Registry) -> None:
    options: dict[str, object] = {}
    options["options"] = options
    with pytest.raises(ConfigError, match="nested more than 64 deep"):
        registry.add("app.queue:q", "queue.queue", options)


def test_a_queue_has_the_documented_defaults(registry: Registry) -> None:
    assert queue_config(registry, entry_of(registry, "app.queue:tasks")) == QueueConfig(
        id="app.queue:tasks", driver="app.queue:memory_driver", queue_name="tasks"
    )


def test_the_options_of_a_queue_s_driver_beat_those_for_any(registry: Registry) -> None:
    registry.add("app.queue:dead", "queue.queue", {"driver": "memory_driver"})
    entry = registry.add(
        "app.queue:mail",
        "queue.queue",
        {
            "driver": "memory_driver",
            "queue_name": "post",
            "codec": "application/msgpack",
            "max_message_size": "1KiB",
            "declare": False,
            "options": {"max_length": 5, "ttl": "1s"},
            "driver_options": {"memory": {"max_length": 7}, "redis": {"max_length": 9}},
            "dead_letter": {"queue": "dead", "max_attempts": 3},
        },
    )
    assert queue_config(registry, entry) == QueueConfig(
        id="app.queue:mail",
        driver="app.queue:memory_driver",
        queue_name="post",
        codec="application/msgpack",
        max_message_size=1024,
        declare=False,
        options={"max_length": 7, "ttl": "1s"},
        dead_letter=DeadLetterConfig("app.queue:dead", 3),
    )


def test_a_consumer_has_the_documented_defaults(registry: Registry) -> None:
    fields = {"queue": "tasks", "func": "task_handler"}
    entry = registry.add("app.queue:c", "queue.consumer", fields)
    assert consumer_config(registry, entry) == ConsumerConfig(
        id="app.queue:c", queue="app.queue:tasks", func="app.queue:task_handler"
    )


def test_everything_of_a_consumer_reaches_its_config(registry: Registry) -> None:
    entry = registry.add(
        "app.queue:c",
        "queue.consumer",
        {
            "queue": "tasks",
            "func": "task_handler",
            "concurrency": 8,
            "prefetch": 0,
            "auto_ack": True,
            "retry": {"initial_delay": "1s", "max_delay": 60, "backoff_factor": 3, "jitter": 0},
            "driver_options": {"memory": {"a": 1}},
            "lifecycle": {"stop_timeout": "3s"},
        },
    )
    assert consumer_config(registry, entry) == ConsumerConfig(
        id="app.queue:c",
        queue="app.queue:tasks",
        func="app.queue:task_handler",
        concurrency=8,
        prefetch=0,
        auto_ack=True,
        stop_timeout=3.0,
        retry=Retry(1.0, 60.0, 3.0, 0.0),
        options={"a": 1},
    )


TIMEOUTS = [
    (None, None, 600.0),
    ("5s", None, 5.0),
    (None, "7s", 7.0),
    ("9s", "7s", 7.0),
    ("5s", "7s", 5.0),
    (0, None, None),
    (0, "7s", 7.0),
    ("5s", 0, 5.0),
]


@pytest.mark.parametrize(("consumer", "function", "seconds"), TIMEOUTS)
def test_the_shorter_timeout_wins_and_zero_is_none(
    registry: Registry, consumer: object, function: object, seconds: float | None
) -> None:
    registry.add(
        "app.queue:f", "function.lua", {"source": "return 1", "limits": {"timeout": function}}
    )
    entry = registry.add(
        "app.queue:c", "queue.consumer", {"queue": "tasks", "func": "f", "timeout": consumer}
    )
    assert consumer_config(registry, entry).timeout == seconds


def test_an_app_without_a_host_config_has_its_defaults(registry: Registry) -> None:
    assert host_spec(registry).vm_memory == 1024**3
    registry.add("app:host", "host.config", {"vm_memory": "2GiB", "stall_limit": 0})
    assert (host_spec(registry).vm_memory, host_spec(registry).stall_limit) == (2 * 1024**3, 0.0)
    with pytest.raises(ConfigError, match=r"there is a host\.config already: app:host$"):
        registry.add("app:other", "host.config", {})
