"""What loads, and what comes out."""

from __future__ import annotations

import os
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.registry.apps import SPEC_INDEX, App
from wippy_lua.errors import ConfigError
from wippy_lua.registry.entry import parse_id, source_of
from wippy_lua.registry.kinds import (
    KINDS,
    ConsumerSpec,
    FunctionSpec,
    HostSpec,
    MemoryDriverSpec,
    MemoryStoreSpec,
    QueueSpec,
)
from wippy_lua.registry.loader import load_folder
from wippy_lua.registry.registry import Registry

pytestmark = pytest.mark.once  # nothing here waits


def spec_app(app: App) -> Registry:
    app.write("_index.yaml", SPEC_INDEX)
    app.write("task_handler.lua", "return function() end")
    return app.load()


def store(registry: Registry) -> MemoryStoreSpec:
    entry = registry.get("app:s")
    assert entry is not None
    return entry.spec_as(MemoryStoreSpec)


def test_the_entries_of_the_specification_load_unchanged(app: App) -> None:
    registry = spec_app(app)
    assert [entry.id for entry in registry] == [
        "app.queue:memory_driver",
        "app.queue:tasks",
        "app.queue:task_consumer",
        "app.queue:task_handler",
    ]
    driver, queue, consumer, handler = registry
    assert driver.spec_as(MemoryDriverSpec).lifecycle.auto_start
    assert queue.spec_as(QueueSpec).driver == "app.queue:memory_driver"
    spec = consumer.spec_as(ConsumerSpec)
    assert (spec.queue, spec.func) == ("app.queue:tasks", "app.queue:task_handler")
    assert (spec.concurrency, spec.prefetch) == (4, 20)
    assert spec.lifecycle.dependencies == ("app.queue:tasks",)
    assert handler.spec_as(FunctionSpec).modules == ("json", "logger")


def test_a_file_source_is_read_and_named_relative_to_the_app(app: App) -> None:
    app.write(
        "deep/er/_index.yaml",
        'version: "1.0"\nnamespace: app\nentries:\n'
        "- {name: f, kind: function.lua, source: 'file://../f.lua'}\n",
    )
    app.write("deep/f.lua", b"return '\xff'")
    (entry,) = app.load()
    source = source_of(entry)
    assert (source.name, source.text) == ("deep/f.lua", b"return '\xff'")
    assert source.path is not None
    assert source.path.read_bytes() == source.text


def test_inline_lua_is_named_after_its_entry(app: App) -> None:
    app.index("- name: f\n  kind: function.lua\n  source: |\n    return 1\n    -- end\n")
    (entry,) = app.load()
    assert source_of(entry).name == "app:f"
    assert source_of(entry).text == b"return 1\n-- end\n"
    assert source_of(entry).path is None


def test_entries_with_lua_are_listed_in_file_order(app: App) -> None:
    registry = spec_app(app)
    assert [entry.id for entry in registry.with_source()] == ["app.queue:task_handler"]
    driver = registry.get("app.queue:memory_driver")
    assert driver is not None
    with pytest.raises(TypeError, match="has no Lua source"):
        source_of(driver)


def test_durations_sizes_and_defaults_are_typed(app: App) -> None:
    app.index("- {name: h, kind: host.config, stall_limit: 1m30s, vm_memory: 64MiB}\n")
    (entry,) = app.load()
    spec = entry.spec_as(HostSpec)
    assert (spec.stall_limit, spec.vm_memory, spec.vm_recycle) == (90.0, 64 * 1024**2, 10_000)
    assert (spec.security, spec.env, spec.log_level) == ("open", (), "info")


def test_requires_and_depends_on_mean_the_same(app: App) -> None:
    app.index(
        "- {name: s, kind: store.memory}\n"
        "- {name: t, kind: store.memory}\n"
        "- {name: d, kind: queue.driver.memory, "
        "lifecycle: {requires: [t, s], depends_on: ['app:s']}}\n"
    )
    registry = app.load()
    assert registry.dependencies("app:d") == ("app:t", "app:s")


def test_every_kind_may_carry_meta(app: App) -> None:
    app.index("- {name: s, kind: store.memory, meta: {a: [1, {b: null}], on: 010, t: 1:30}}\n")
    (entry,) = app.load()
    assert entry.meta == {"a": [1, {"b": None}], "on": 10, "t": "1:30"}


def test_an_empty_field_is_as_good_as_none(app: App) -> None:
    app.index("- name: d\n  kind: queue.driver.memory\n  lifecycle:\n  meta:\n")
    (entry,) = app.load()
    assert entry.spec == MemoryDriverSpec()


def test_merge_keys_and_aliases_work(app: App) -> None:
    app.index(
        "- &base {name: a, kind: store.memory, max_size: 5}\n"
        "- {<<: *base, name: b}\n"
        "- {<<: [*base, {cleanup_interval: 1s}], name: c, max_size: 6}\n"
    )
    sizes = [entry.spec_as(MemoryStoreSpec).max_size for entry in app.load()]
    assert sizes == [5, 5, 6]


@pytest.mark.parametrize("written", ["true", "yes", "on", "True", "${env:FLAG}", "'${env:FLAG}'"])
def test_booleans_may_be_spoken(app: App, written: str) -> None:
    app.index(f"- name: d\n  kind: queue.driver.memory\n  lifecycle:\n    auto_start: {written}\n")
    (entry,) = app.load(env={"FLAG": "yes"})
    assert entry.spec_as(MemoryDriverSpec).lifecycle.auto_start is True


def test_fields_that_only_wippy_uses_are_warnings(app: App) -> None:
    app.index("- {name: f, kind: function.lua, source: return 1, pool: {size: 4}, host: x}\n")
    registry = app.load()
    assert [app.relative(str(warning)) for warning in registry.problems] == [
        "_index.yaml:4:51: app:f: field 'pool' has no meaning in this host and is ignored",
        "_index.yaml:4:68: app:f: field 'host' has no meaning in this host and is ignored",
    ]
    assert {warning.severity for warning in registry.problems} == {"warning"}


def test_a_consumed_queue_without_dead_letter_is_a_warning(app: App) -> None:
    registry = spec_app(app)
    assert [app.relative(str(warning)) for warning in registry.problems] == [
        "_index.yaml:8:3: app.queue:tasks: has a consumer and no dead_letter: "
        "rejected and non-retryable messages are retried for ever"
    ]


def test_the_end_of_a_dead_letter_chain_may_be_consumed_in_peace(app: App) -> None:
    app.index(
        "- {name: d, kind: queue.driver.memory}\n"
        "- {name: q, kind: queue.queue, driver: d, dead_letter: {queue: dead, max_attempts: 3}}\n"
        "- {name: dead, kind: queue.queue, driver: d}\n"
        "- {name: f, kind: function.lua, source: return 1}\n"
        "- {name: c, kind: queue.consumer, queue: q, func: f}\n"
        "- {name: e, kind: queue.consumer, queue: dead, func: f}\n"
    )
    assert app.load().problems == ()


def test_two_queues_that_are_one_on_the_broker_are_a_warning(app: App) -> None:
    app.index(
        "- {name: d, kind: queue.driver.memory}\n"
        "- {name: q, kind: queue.queue, driver: d}\n"
        "- {name: p, kind: queue.queue, driver: d, queue_name: q}\n"
    )
    assert [app.relative(str(warning)) for warning in app.load().problems] == [
        "_index.yaml:6:3: app:p: queue_name 'q' on app:d is also that of app:q"
    ]


ENV_VALUES = [
    ("${env:N}", {"N": "7"}, 7),
    ('"${env:N}"', {"N": "7"}, 7),
    ("${env:N:-4}", {}, 4),
    ('"${env:N:-4}"', {}, 4),
    ("${env:N:-4}", {"N": ""}, 4),
    ("1${env:N}", {"N": "2"}, 12),
    ("${env:N:-}", {}, 10_000),
]


@pytest.mark.parametrize(("written", "env", "value"), ENV_VALUES)
def test_an_expanded_scalar_takes_the_type_of_its_field(
    app: App, written: str, env: dict[str, str], value: int
) -> None:
    app.index(f"- name: s\n  kind: store.memory\n  max_size: {written}\n")
    assert store(app.load(env=env)).max_size == value


def test_an_expanded_number_stays_text_in_a_text_field(app: App) -> None:
    app.index("- name: d\n  kind: fs.directory\n  directory: ${env:DIR}\n")
    (entry,) = app.load(env={"DIR": "010"})
    assert entry.spec.directory == "010"  # type: ignore[attr-defined]


ENV_PROBLEMS = [
    ("${env:NO}", "environment variable 'NO' is not set, and '${env:NO}' has no default"),
    ("${env:1x}", "'${env:1x}' does not name an environment variable"),
    ("${env:X", "'${env:' has no closing brace"),
    ("${env:NO:-${env:X}}", "the default of variable 'NO' cannot hold another variable"),
    ("${env:BYTES}", "is not valid Unicode"),
]


@pytest.mark.parametrize(("written", "problem"), ENV_PROBLEMS)
def test_a_variable_that_cannot_be_expanded_is_a_problem(
    app: App, written: str, problem: str
) -> None:
    app.index(f"- name: s\n  kind: store.memory\n  meta: {{x: '{written}'}}\n")
    (error,) = app.errors(env={"X": "x", "BYTES": "\udcff"})
    assert error.startswith(f"_index.yaml:6:13: {problem}")


def test_files_are_read_in_sorted_order_and_hidden_folders_are_skipped(app: App) -> None:
    for folder in ("b", "a/z", "a", ".", ".hidden", "node_modules", ".venv/x"):
        namespace = folder.strip("./").replace("/", ".") or "root"
        app.write(
            f"{folder}/_index.yaml",
            f'version: "1.0"\nnamespace: {namespace}\nentries: [{{name: s, kind: store.memory}}]\n',
        )
    assert [entry.namespace for entry in app.load()] == ["root", "a", "a.z", "b"]


def test_a_folder_without_an_index_is_an_empty_registry(app: App) -> None:
    registry = app.load()
    assert len(registry) == 0
    assert registry.start_order() == []


def test_a_byte_order_mark_and_an_unquoted_version_are_fine(app: App) -> None:
    app.write("_index.yaml", b"\xef\xbb\xbfversion: 1.0\nnamespace: app\n")
    assert len(app.load()) == 0


def test_a_pipe_is_not_opened(app: App) -> None:
    os.mkfifo(app.folder / "_index.yaml")
    assert app.errors() == ["_index.yaml: is not a file"]


OVERRIDES = [
    ("app:s.max_size=7", {"max_size": 7}),
    ("app:s.cleanup_interval=10s", {"cleanup_interval": 10.0}),
    ("app:s.max_size=${env:N}", {"max_size": 3}),
    ("app:s.max_size=", {"max_size": 10_000}),
]


@pytest.mark.parametrize(("override", "values"), OVERRIDES)
def test_an_override_sets_a_field(app: App, override: str, values: dict[str, object]) -> None:
    app.index("- {name: s, kind: store.memory, max_size: 5}\n")
    spec = store(app.load(overrides=[override], env={"N": "3"}))
    assert {name: getattr(spec, name) for name in values} == values


def test_an_override_reaches_nested_fields_of_a_name_with_dots(app: App) -> None:
    app.index("- {name: a, kind: store.memory}\n- {name: a.b, kind: queue.driver.memory}\n")
    registry = app.load(overrides=["app:a.b.lifecycle.restart.jitter=0.5", "app:a.b.meta.x=[1, y]"])
    entry = registry.get("app:a.b")
    assert entry is not None
    assert entry.spec_as(MemoryDriverSpec).lifecycle.restart.jitter == 0.5
    assert entry.meta == {"x": [1, "y"]}


OVERRIDE_PROBLEMS = [
    ("x", "--set: 'x': is not of the form 'namespace:name.field=value'"),
    ("app:t.x=1", "--set: 'app:t.x': no entry 'app:t'; did you mean 'app:s'?"),
    ("app:s=1", "--set: 'app:s': names no field of app:s"),
    ("app:s.name=x", "--set: 'app:s.name': an entry's name cannot be set"),
    ("app:s.max_size.x=1", "--set: 'app:s.max_size.x': field 'max_size' is not a map"),
    ("app:s.max_sise=1", "--set: app:s: unknown field 'max_sise'; did you mean 'max_size'?"),
    ("app:s.max_size=x", "--set: app:s: max_size must be a whole number, not 'x'"),
    (
        "app:s.max_size=[",
        "--set: 'app:s.max_size': not YAML: did not find expected node content",
    ),
    (
        "app:s.max_size=${env:NO}",
        "--set: 'app:s.max_size': environment variable 'NO' is not set, "
        "and '${env:NO}' has no default (':-value')",
    ),
]


@pytest.mark.parametrize(("override", "problem"), OVERRIDE_PROBLEMS)
def test_a_wrong_override_is_a_problem(app: App, override: str, problem: str) -> None:
    app.index("- {name: s, kind: store.memory, max_size: 5}\n")
    assert app.errors(overrides=[override]) == [problem]


def test_a_name_without_a_namespace_is_looked_up_in_its_own() -> None:
    assert parse_id("tasks", "app") == "app:tasks"
    assert parse_id("other:tasks", "app") == "other:tasks"
    for text in ("tasks", "", ":", "a:", "a:b:c", "a b:c"):
        with pytest.raises(ValueError, match="is not an ID"):
            parse_id(text)


WORDS = [
    "version",
    "namespace",
    "entries",
    "name",
    "kind",
    "app",
    "queue.queue",
    "file://x",
    "function.lua",
    "source",
    "driver",
    "lifecycle",
    "meta",
    "'1.0'",
    "${env:X}",
    "&a",
    "*a",
    "- ",
    ": ",
    "\n",
    "\n  ",
    "{",
    "}",
    "[",
    "]",
    "|",
    "<<",
    "!!int",
    "\t",
    "#",
    '"',
    "\\",
    "~",
]
TEXT = st.one_of(
    st.text(max_size=200),
    st.lists(st.sampled_from(WORDS), max_size=40).map("".join),
    st.lists(st.sampled_from(WORDS), max_size=30).map(
        lambda words: (
            'version: "1.0"\nnamespace: app\nentries:\n- name: f\n  kind: '
            "function.lua\n  source: " + "".join(words)
        )
    ),
)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(text=TEXT)
def test_any_text_loads_or_is_a_config_error(app: App, text: str) -> None:
    app.write("_index.yaml", text.encode("utf-8", "surrogatepass"))
    problems: object = "none"
    try:
        load_folder(app.folder, env={"X": "1"})
    except ConfigError as error:
        problems = error.problems
    assert problems


FIELDS = sorted({name for row in KINDS.values() for name in row.spec.__struct_fields__})
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["app:s", "10s", "64MiB", "file://x", "file://.", "a\0b", "json/plain"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["memory", "queue", "restart", "actor"]), inner)
        | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    fields=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6),
)
def test_any_fields_make_an_entry_or_a_config_error(
    app: App, kind: str, fields: dict[str, object]
) -> None:
    registry = Registry(app.folder)
    registry.add("app:s", "store.memory", {})
    with suppress(ConfigError):
        entry = registry.add("app:x", kind, fields)
        assert isinstance(entry.spec, KINDS[kind].spec)
