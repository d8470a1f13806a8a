"""Each mistake in an `_index.yaml`, with the exact place and words that it is reported with."""

from __future__ import annotations

import pytest

from tests.registry.apps import HEADER, SPEC_INDEX, App

QUEUE = "- {name: d, kind: queue.driver.memory}\n- {name: q, kind: queue.queue, driver: d}\n"
FUNC = "- {name: f, kind: function.lua, source: return 1}\n"

FILES = [
    ("[]", "_index.yaml:1:1: must be a map with version, namespace and entries, not a list"),
    ("", "_index.yaml:1:1: must be a map with version, namespace and entries, not nothing"),
    ("namespace: a\n", "_index.yaml:1:1: missing field 'version'"),
    ('version: "1.0"\n', "_index.yaml:1:1: missing field 'namespace'"),
    ('version: "2"\nnamespace: a\n', "_index.yaml:1:10: version must be \"1.0\", not '2'"),
    ("version: 1\nnamespace: a\n", '_index.yaml:1:10: version must be "1.0", not 1'),
    (
        'version: "1.0"\nnamespace: "a b"\n',
        "_index.yaml:2:12: namespace must be letters, digits, '_', '.' and '-', not 'a b'",
    ),
    (
        'version: "1.0"\nnamespace: a\nentrys: []\n',
        "_index.yaml:3:1: unknown field 'entrys'; did you mean 'entries'?",
    ),
    (
        'version: "1.0"\nnamespace: a\nentries: {}\n',
        "_index.yaml:3:10: entries must be a list, not a map",
    ),
    (
        "version: [\n",
        "_index.yaml:2:1: not YAML: did not find expected node content",
    ),
    (
        'version: "1.0"\nnamespace: \u00e9\x01\n',
        "_index.yaml:2:13: control characters are not allowed",
    ),
    (
        'version: "1.0"\nnamespace: a\n---\nversion: "1.0"\n',
        "_index.yaml:3:1: holds more than one YAML document",
    ),
    (
        'version: "1.0"\nnamespace: a\nnamespace: b\n',
        "_index.yaml:3:1: duplicate key 'namespace', first in line 2",
    ),
    (
        'version: "1.0"\nnamespace: a\nmeta: !!python/name:os.system x\n',
        "_index.yaml:3:7: tag '!!python/name:os.system' is not supported",
    ),
    (
        'version: "1.0"\nnamespace: a\nmeta: *x\n',
        "_index.yaml:3:7: alias '*x' has no anchor before it",
    ),
    (
        'version: "1.0"\nnamespace: a\nmeta: &x [*x]\n',
        "_index.yaml:3:11: alias '*x' has no anchor before it",
    ),
    (
        'version: "1.0"\nnamespace: a\nmeta: {[a]: b}\n',
        "_index.yaml:3:8: keys must be strings",
    ),
    (
        'version: "1.0"\nnamespace: a\nmeta: {<<: 3}\n',
        "_index.yaml:3:12: '<<' takes a map or a list of maps",
    ),
    (
        'version: "1.0"\nnamespace: a\nmeta: ' + "[" * 65 + "]" * 65 + "\n",
        "_index.yaml:3:71: values are nested more than 64 deep",
    ),
    (
        'version: "1.0"\nnamespace: a\nmeta: ' + "[" * 99_999,
        "_index.yaml:3:1006: not YAML: exceeded maximum nesting depth",
    ),
]


@pytest.mark.parametrize(("text", "problem"), FILES)
def test_a_file_that_is_no_index_is_reported(app: App, text: str, problem: str) -> None:
    app.write("_index.yaml", text)
    assert app.errors() == [problem]


ENTRIES = [
    ("- 3\n", "4:3: an entry must be a map, not 3"),
    ("- {kind: store.memory}\n", "4:3: missing field 'name'"),
    (
        "- {name: 'a:b', kind: store.memory}\n",
        "4:10: name must be letters, digits, '_', '.' and '-', not 'a:b'",
    ),
    ("- {name: s}\n", "4:3: app:s: missing field 'kind'"),
    ("- {name: s, kind: [x]}\n", "4:19: app:s: kind must be a string, not a list"),
    (
        "- {name: s, kind: store.memry}\n",
        "4:19: app:s: unknown kind 'store.memry'; did you mean 'store.memory'?",
    ),
    ("- {name: s, kind: quux}\n", "4:19: app:s: unknown kind 'quux'"),
    (
        "- {name: s, kind: store.memory}\n- {name: s, kind: store.memory}\n",
        "5:3: app:s: duplicate ID, first defined at _index.yaml:4:3",
    ),
    (
        "- {name: s, kind: store.memory, max_sise: 3}\n",
        "4:33: app:s: unknown field 'max_sise'; did you mean 'max_size'?",
    ),
    (
        "- {name: s, kind: store.memory, max_size: lots}\n",
        "4:43: app:s: max_size must be a whole number, not 'lots'",
    ),
    (
        "- {name: s, kind: store.memory, max_size: 0}\n",
        "4:43: app:s: max_size must be at least 1, not 0",
    ),
    (
        "- {name: s, kind: store.memory, cleanup_interval: -5s}\n",
        "4:51: app:s: cleanup_interval must not be negative, as '-5s' is",
    ),
    (
        "- {name: s, kind: store.memory, meta: x}\n",
        "4:39: app:s: meta must be a map, not 'x'",
    ),
    ("- {name: q, kind: queue.queue}\n", "4:3: app:q: missing field 'driver'"),
    (
        "- {name: f, kind: function.lua, source: file://gone.lua}\n",
        "4:41: app:f: source 'gone.lua' cannot be read: No such file or directory",
    ),
    (
        "- {name: f, kind: function.lua, source: 'file://.'}\n",
        "4:41: app:f: source '.' is not a file",
    ),
    (
        '- {name: f, kind: function.lua, source: "file://a\\0b"}\n',
        "4:41: app:f: source 'a\0b' is not a path",
    ),
    (
        "- {name: f, kind: function.lua, source: f.lua}\n",
        "4:41: app:f: source is Lua text; did you mean 'file://f.lua'?",
    ),
    ("- {name: f, kind: function.lua, source: ''}\n", "4:41: app:f: source must not be empty"),
    (
        "- {name: f, kind: function.lua, source: return 1, modules: json}\n",
        "4:60: app:f: modules must be a list, not 'json'",
    ),
    (
        "- {name: f, kind: function.lua, source: return 1, modules: [3]}\n",
        "4:61: app:f: modules[0] must be a string, not 3",
    ),
    (
        "- {name: f, kind: function.lua, source: return 1, limits: {memory: 10KB}}\n",
        "4:68: app:f: limits.memory must be at least 1048576B, not '10KB'",
    ),
    (
        "- {name: f, kind: function.lua, source: return 1, limits: {preempt: 3}}\n",
        "4:69: app:f: limits.preempt must be true or false, not 3",
    ),
    (
        "- {name: f, kind: function.lua, source: return 1, limits: [3]}\n",
        "4:59: app:f: limits must be a map, not a list",
    ),
    (
        "- {name: h, kind: host.config, security: strickt}\n",
        "4:42: app:h: security must be one of open, strict, not 'strickt'; did you mean 'strict'?",
    ),
    (
        "- {name: h, kind: host.config}\n- {name: i, kind: host.config}\n",
        "5:3: app:i: there is a host.config already: app:h at _index.yaml:4:3",
    ),
    (
        "- {name: d, kind: queue.driver.memory, lifecycle: {auto_strat: true}}\n",
        "4:52: app:d: unknown field 'lifecycle.auto_strat'; did you mean 'auto_start'?",
    ),
    (
        "- {name: d, kind: queue.driver.memory, lifecycle: {requires: [nowhere]}}\n",
        "4:63: app:d: lifecycle.requires[0] refers to 'app:nowhere', which does not exist",
    ),
    (
        "- {name: d, kind: queue.driver.memory, lifecycle: {restart: {backoff_factor: 0.5}}}\n",
        "4:78: app:d: lifecycle.restart.backoff_factor must be between 1 and 100, not 0.5",
    ),
    (
        "- {name: d, kind: queue.driver.memory, lifecycle: {security: {actor: {}}}}\n",
        "4:70: app:d: missing field 'lifecycle.security.actor.id'",
    ),
    (
        QUEUE + "- {name: p, kind: queue.queue, driver: q}\n",
        "6:40: app:p: driver refers to 'app:q', which is a queue.queue, not a queue.driver",
    ),
    (
        QUEUE + "- {name: p, kind: queue.queue, driver: 'a:b:c'}\n",
        "6:40: app:p: driver: 'a:b:c' is not an ID: 'namespace:name', "
        "each of letters, digits, '_', '.' and '-'",
    ),
    (
        QUEUE + "- {name: p, kind: queue.queue, driver: d, driver_options: {memry: {}}}\n",
        "6:60: app:p: unknown field 'driver_options.memry'; did you mean 'memory'?",
    ),
    (
        QUEUE + "- {name: p, kind: queue.queue, driver: d, codec: json}\n",
        "6:50: app:p: codec must be one of json/plain, application/msgpack, not 'json'",
    ),
    (
        QUEUE + "- {name: p, kind: queue.queue, driver: d, dead_letter: {queue: q}}\n",
        "6:56: app:p: missing field 'dead_letter.max_attempts'",
    ),
    (
        QUEUE + "- {name: p, kind: queue.queue, driver: d, "
        "dead_letter: {queue: q, max_attempts: 0}}\n",
        "6:81: app:p: dead_letter.max_attempts must be at least 1, not 0",
    ),
    (
        QUEUE + FUNC + "- {name: c, kind: queue.consumer, queue: q, func: f, concurrency: 5000}\n",
        "7:67: app:c: concurrency must be between 1 and 1000, not 5000",
    ),
    (
        QUEUE + FUNC + "- {name: c, kind: queue.consumer, queue: q, func: f, prefetch: 10001}\n",
        "7:64: app:c: prefetch must be between 0 and 10000, not 10001",
    ),
    (
        QUEUE + FUNC + "- {name: c, kind: queue.consumer, queue: q, func: f, concurrency: true}\n",
        "7:67: app:c: concurrency must be a whole number, not true",
    ),
    (
        QUEUE
        + FUNC
        + "- {name: c, kind: queue.consumer, queue: q, func: f, retry: {jitter: .nan}}\n",
        "7:70: app:c: retry.jitter must be a number, not nan",
    ),
    (
        QUEUE
        + FUNC
        + "- {name: c, kind: queue.consumer, queue: q, func: f, retry: {jitter: 1.5}}\n",
        "7:70: app:c: retry.jitter must be between 0 and 1, not 1.5",
    ),
    (
        QUEUE + FUNC + "- {name: c, kind: queue.consumer, queue: q, func: q}\n",
        "7:51: app:c: func refers to 'app:q', which is a queue.queue, not a function.lua",
    ),
    (
        QUEUE + FUNC + "- {name: ff, kind: library.lua, source: return 1, imports: {a: g}}\n",
        "7:64: app:ff: imports.a refers to 'app:g', which does not exist; did you mean 'app:f'?",
    ),
]


@pytest.mark.parametrize(("entries", "problem"), ENTRIES)
def test_a_wrong_entry_is_reported(app: App, entries: str, problem: str) -> None:
    app.index(entries)
    assert app.errors() == [f"_index.yaml:{problem}"]


def test_every_problem_of_every_file_is_reported_in_order(app: App) -> None:
    app.index("- {name: a, kind: store.memory, max_size: x, bogus: 1}\n- {name: b}\n")
    app.write("sub/_index.yaml", 'version: "1.0"\nnamespace: sub\nentries:\n- {name: c, kind: ?}\n')
    app.write("zub/_index.yaml", "]")
    assert [error.split(": ")[0] for error in app.errors()] == [
        "_index.yaml:4:43",
        "_index.yaml:4:46",
        "_index.yaml:5:3",
        "sub/_index.yaml:4:19",
        "zub/_index.yaml:1:1",
    ]


def test_a_broken_entry_does_not_hide_a_broken_reference_nor_make_one(app: App) -> None:
    app.index(
        "- {name: d, kind: queue.driver.memory, bogus: 1}\n"
        "- {name: q, kind: queue.queue, driver: d}\n"
        "- {name: p, kind: queue.queue, driver: dd, declare: 3}\n"
    )
    assert app.errors() == [
        "_index.yaml:4:40: app:d: unknown field 'bogus'",
        "_index.yaml:6:40: app:p: driver refers to 'app:dd', "
        "which does not exist; did you mean 'app:d'?",
        "_index.yaml:6:53: app:p: declare must be true or false, not 3",
    ]


def test_a_dependency_cycle_is_shown_whole(app: App) -> None:
    app.index(
        "- {name: a, kind: library.lua, source: return 1, imports: {x: b}}\n"
        "- {name: b, kind: library.lua, source: return 1, imports: {x: c}}\n"
        "- {name: c, kind: library.lua, source: return 1, imports: {x: b}}\n"
    )
    assert app.errors() == ["_index.yaml:5:63: app:b: dependency cycle: app:b -> app:c -> app:b"]


def test_a_circle_with_two_references_on_one_side_is_one_problem(app: App) -> None:
    app.index(
        "- {name: a, kind: library.lua, source: return 1, imports: {x: b, y: b}}\n"
        "- {name: b, kind: library.lua, source: return 1, imports: {x: a, y: a}}\n"
    )
    assert app.errors() == ["_index.yaml:4:63: app:a: dependency cycle: app:a -> app:b -> app:a"]


def test_a_dead_letter_loop_is_named_as_such(app: App) -> None:
    app.index(
        "- {name: d, kind: queue.driver.memory}\n"
        "- {name: a, kind: queue.queue, driver: d, dead_letter: {queue: b, max_attempts: 3}}\n"
        "- {name: b, kind: queue.queue, driver: d, dead_letter: {queue: a, max_attempts: 3}}\n"
        "- {name: c, kind: queue.queue, driver: d, dead_letter: {queue: c, max_attempts: 3}}\n"
    )
    assert app.errors() == [
        "_index.yaml:5:64: app:a: dead-letter loop: app:a -> app:b -> app:a",
        "_index.yaml:7:64: app:c: dead-letter loop: app:c -> app:c",
    ]


def test_a_long_chain_of_dependencies_is_no_problem(app: App) -> None:
    line = "- {{name: n{0}, kind: library.lua, source: return 1, imports: {{x: n{1}}}}}\n"
    chain = "".join(line.format(i, i + 1) for i in range(2000))
    app.index(chain + "- {name: n2000, kind: library.lua, source: return 1}\n")
    assert len(app.load().start_order()) == 2001


def test_aliases_cannot_blow_a_file_up(app: App) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    app.write("_index.yaml", "\n".join(lines))
    assert app.errors() == ["_index.yaml:6:10: holds more than 200000 values, counting aliases"]


def test_a_file_that_is_not_utf_8_is_reported_with_its_place(app: App) -> None:
    app.write("_index.yaml", b'version: "1.0"\nnamespace: \xc3\xa9\xff\n')
    assert app.errors() == ["_index.yaml:2:13: is not UTF-8"]


def test_a_file_that_is_too_large_is_not_read(app: App) -> None:
    app.write("_index.yaml", b"#" * (4 * 1024 * 1024 + 1))
    assert app.errors() == ["_index.yaml: is larger than 4MiB"]


def test_a_folder_that_is_not_there_is_a_problem(app: App) -> None:
    app.folder.rmdir()
    assert app.errors() == [f"{app.folder.as_posix()}: is not a folder"]


def test_unknown_modules_are_problems_where_the_modules_are_known(app: App) -> None:
    app.write("_index.yaml", SPEC_INDEX.replace("- json", "- jsn"))
    app.write("task_handler.lua", "return 1")
    assert app.errors(modules=["json", "logger"]) == [
        "_index.yaml:25:7: app.queue:task_handler: unknown module 'jsn'; did you mean 'json'?"
    ]
    assert "app.queue:task_handler" in app.load()


def test_a_value_from_the_environment_is_in_no_message(app: App) -> None:
    app.index(
        "- {name: s, kind: store.memory, max_size: '${env:SECRET}', "
        "cleanup_interval: '${env:SECRET}'}\n"
        "- {name: h, kind: host.config, security: '${env:SECRET}'}\n"
    )
    assert app.errors(env={"SECRET": "stricct"}) == [
        "_index.yaml:4:43: app:s: max_size must be a whole number, not the value of its variable",
        "_index.yaml:4:78: app:s: cleanup_interval cannot be the value of its variable",
        "_index.yaml:5:42: app:h: security must be one of open, strict, "
        "not the value of its variable",
    ]


def test_a_missing_header_is_reported_with_the_rest(app: App) -> None:
    app.write("_index.yaml", HEADER.replace("version", "verson") + "- {name: s, kind: x}\n")
    assert app.errors() == [
        "_index.yaml:1:1: unknown field 'verson'; did you mean 'version'?",
        "_index.yaml:1:1: missing field 'version'",
        "_index.yaml:4:19: app:s: unknown kind 'x'",
    ]
