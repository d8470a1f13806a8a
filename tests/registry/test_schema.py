"""The JSON Schema of `_index.yaml` against the kinds it is made of, and against the loader."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import jsonschema_rs
import pytest
from msgspec import Struct

from tests.examples.specification import ENTRIES as SPEC_ENTRIES
from tests.registry.apps import HEADER, App
from tests.registry.schema import complaints
from tests.registry.test_problems import ENTRIES, FILES
from wippy_lua.registry.decode import fields_of, shape_of
from wippy_lua.registry.descriptions import COMMON, OF_FIELDS, OF_KINDS
from wippy_lua.registry.kinds import KINDS
from wippy_lua.registry.schema import index_schema

ROOT = Path(__file__).parents[2]
SCHEMA = index_schema()


def structs(struct: type[Struct]) -> Iterator[type[Struct]]:
    """Yields a struct and those of its fields."""
    yield struct
    for info in fields_of(struct).values():
        shape = shape_of(info.type)
        for base in (shape.base, *(shape_of(arg).base for arg in shape.args)):
            if isinstance(base, type) and issubclass(base, Struct):
                yield from structs(base)


USED = {struct for row in KINDS.values() for struct in structs(row.spec)}


def test_the_schema_is_one_of_2020_12() -> None:
    jsonschema_rs.meta.validate(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_a_kind_is_there_with_a_description(kind: str) -> None:
    row, schema = KINDS[kind], SCHEMA["$defs"][kind]

    assert schema["description"] == OF_KINDS[kind]
    assert schema["properties"].keys() == {*COMMON, *fields_of(row.spec), *row.unused}
    assert all(each["description"] for each in schema["properties"].values())
    deprecated = {name for name, each in schema["properties"].items() if each.get("deprecated")}
    assert deprecated == row.unused
    assert schema["additionalProperties"] is False


def test_every_field_below_them_is_there_with_a_description() -> None:
    nested = USED - {row.spec for row in KINDS.values()}

    for struct in nested:
        schema = SCHEMA["$defs"][struct.__name__.removesuffix("Spec")]
        assert schema["properties"].keys() == fields_of(struct).keys()
        assert all(each["description"] for each in schema["properties"].values())


def test_nothing_is_described_that_is_not_there() -> None:
    assert OF_KINDS.keys() == KINDS.keys()
    assert {struct: fields.keys() for struct, fields in OF_FIELDS.items() if struct in USED} == {
        struct: fields_of(struct).keys() for struct in USED
    }


def indexes() -> Iterator[Path]:
    yield from sorted((ROOT / "examples").rglob("_index.yaml"))
    yield Path(str(files("wippy_lua.cli"))) / "scaffold" / "_index.yaml"


@pytest.mark.parametrize("path", list(indexes()), ids=lambda path: path.parent.name)
def test_an_index_of_ours_is_right(path: Path) -> None:
    assert complaints(path.read_text()) == []


def test_the_entries_of_the_specification_are_right() -> None:
    assert complaints(HEADER + "".join(SPEC_ENTRIES)) == []


def test_the_indexes_of_the_readme_are_right() -> None:
    readme = (ROOT / "README.md").read_text()
    found = re.findall(r"```yaml\n(version: .*?)```", readme, flags=re.DOTALL)
    assert [complaints(text) for text in found] == [[]] * len(found)
    assert found


#: Every way to write a value that the loader takes.
TAKEN = [
    "cleanup_interval: 10",
    "cleanup_interval: 1.5",
    "cleanup_interval: '10'",
    "cleanup_interval: 1h30m",
    "cleanup_interval: .5s",
    "cleanup_interval: 250µs",
    "cleanup_interval: 0",
    "cleanup_interval: ${env:D}",
    "cleanup_interval: ${env:D:-10s}",
    "cleanup_interval:",
    "max_size: 7",
    "max_size: ${env:N}",
    "max_size: '1${env:N}'",
    "meta: {a: [1, {b: null}]}",
    "lifecycle: {auto_start: true}",
]
ENV = {"D": "5s", "N": "7", "B": "true", "Q": "json/plain"}


@pytest.mark.parametrize("field", TAKEN)
def test_what_the_loader_takes_the_schema_takes(app: App, field: str) -> None:
    app.index(f"- name: s\n  kind: store.memory\n  {field}\n")
    app.load(env=ENV)  # which asks the schema as well


@pytest.mark.parametrize(
    "fields",
    [
        "limits: {memory: 64MiB, timeout: 1m, preempt: yes}",
        "limits: {memory: 2097152, preempt: Off}",
        "limits: {memory: 2 mb, preempt: '${env:B}'}",
        "limits: {memory: '${env:N}MiB'}",
        "limits: {memory: 1.5GiB}",
        "modules: [json, of_a_program]",
        "imports: {lib: 'app:lib', other: lib}",
        "method: run\n  pool: {size: 7}\n  host: x",
    ],
)
def test_what_the_loader_takes_of_a_function_the_schema_takes(app: App, fields: str) -> None:
    app.index(
        "- {name: lib, kind: library.lua, source: return 1}\n"
        f"- name: f\n  kind: function.lua\n  source: return 1\n  {fields}\n"
    )
    app.load(env=ENV)


POLICY = "- {name: p, kind: security.policy, policy: {effect: allow, "

#: A wrong entry, refused by both. Those of test_problems.py come on top.
WRONG = [
    "- {name: s, kind: store.memory, max_size: 1.5}",
    "- {name: s, kind: store.memory, max_size: '7'}",
    "- {name: s, kind: store.memory, cleanup_interval: 5 s}",
    "- {name: s, kind: store.memory, cleanup_interval: soon}",
    "- {name: s, kind: store.memory, cleanup_interval: -1}",
    "- {name: s, kind: store.memory, cleanup_interval: 99999999999}",
    "- {name: s, kind: store.memory, cleanup_interval: [1]}",
    "- {name: s, kind: store.memory, meta: [1]}",
    "- {name: h, kind: host.config, log_level: loud}",
    "- {name: h, kind: host.config, log_level: warn, env: PATH}",
    "- {name: h, kind: host.config, vm_memory: 1}",
    "- {name: h, kind: host.config, vm_memory: 1XB}",
    "- {name: h, kind: host.config, vm_memory: -1MiB}",
    "- {name: d, kind: queue.driver.sqs, wait_time: 21}",
    "- {name: d, kind: queue.driver.amqp, tls: {verify: maybe}}",
    "- {name: d, kind: queue.driver.amqp, url: ''}",
    "- {name: d, kind: queue.driver.memory, lifecycle: {restart: {jitter: 2}}}",
    "- {name: d, kind: queue.driver.memory, lifecycle: {startup: later}}",
    "- {name: d, kind: queue.driver.memory, lifecycle: []}",
    "- {name: f, kind: function.lua}",
    "- {name: f, kind: function.lua, source: null}",
    "- {name: f, kind: function.lua, source: return 1, imports: {a: 'b c'}}",
    "- {name: f, kind: fs.directory, directory: 7}",
    f"{POLICY}actions: [], resources: '*'}}}}",
    f"{POLICY}actions: '', resources: '*'}}}}",
    f"{POLICY}actions: a}}}}",
    f"{POLICY}actions: a, resources: b, conditions: [{{field: f, operator: is}}]}}}}",
    "- {name: p, kind: security.policy, policy: {effect: perhaps, actions: a, resources: b}}",
    "- {name: p, kind: security.policy, policy: null}",
    "- null",
]


@pytest.mark.parametrize("entries", WRONG)
def test_what_is_wrong_is_refused_by_both(app: App, entries: str) -> None:
    app.index(f"{entries}\n")
    assert app.errors() != []
    assert complaints(f"{HEADER}{entries}\n") != []


#: What only the loader can know: of files, of other entries, and of bounds of text.
ONLY_THE_LOADER = (
    "does not exist",
    "duplicate ID",
    "host.config already",
    "which is a",
    "cannot be read",
    "is not a file",
    "is not a path",
    "must be at least 1048576B",
)


@pytest.mark.parametrize(("entries", "problem"), ENTRIES)
def test_problems_of_the_loader_are_problems_of_the_schema(entries: str, problem: str) -> None:
    is_seen = not any(words in problem for words in ONLY_THE_LOADER)
    assert bool(complaints(HEADER + entries)) is is_seen


@pytest.mark.parametrize(("text", "problem"), FILES)
def test_a_file_that_is_no_index_is_none_for_the_schema(text: str, problem: str) -> None:
    # 1.0 and 1 are one number to JSON.
    assert bool(complaints(text)) is not problem.endswith("not 1")
