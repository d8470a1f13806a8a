"""Values on their way from a publish to a handler and back: they stay what they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.failures.crash import IS_LONG
from tests.failures.figures import Figures, Row, word
from tests.host.apps import make_host
from tests.lua.codec_vm import (
    JSON_DOCUMENTS,
    MSGPACK_DOCUMENTS,
    normalised,
    same,
    without_null_members,
)
from wippy_lua import Host
from wippy_lua.errors import Kind, WippyError

pytestmark = [pytest.mark.once, pytest.mark.timeout(1200 if IS_LONG else 120)]

CASES = 10_000 if IS_LONG else 60
PATIENCE = 5.0

ENTRIES = """\
- {name: memory, kind: queue.driver.memory}
- {name: json, kind: queue.queue, driver: memory}
- {name: msgpack, kind: queue.queue, driver: memory, codec: application/msgpack}
- {name: c1, kind: queue.consumer, queue: json, func: note, lifecycle: {auto_start: true}}
- {name: c2, kind: queue.consumer, queue: msgpack, func: note, lifecycle: {auto_start: true}}
- {name: note, kind: function.lua, modules: [seen],
   source: "local seen = require('seen') return function(body) seen.add(body) end"}
- {name: echo, kind: function.lua, source: "return function(value) return value end"}
- {name: again, kind: function.lua, modules: [json],
   source: "local j = require('json') return function(text) return j.encode(j.decode(text)) end"}
"""

fuzz = settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    derandomize=not IS_LONG,
    suppress_health_check=list(HealthCheck),
)


class Through:
    """A host, and what its handler was given."""

    def __init__(self, folder: Path) -> None:
        self.values: list[Any] = []
        seen = {"seen": {"add": self.values.append}}
        self.host: Host = make_host(folder, ENTRIES, seen)

    def publish(self, queue: str, value: object) -> object:
        """Publishes a value and returns what the handler was given."""
        self.values.clear()
        self.host.publish(queue, value)
        with gevent.Timeout(PATIENCE):
            while not self.values:
                gevent.sleep(0)
        return self.values[0]

    def wait_until_handled(self) -> None:
        """Blocks until nothing is left: what was taken must be readable."""
        with gevent.Timeout(PATIENCE):
            while any(self.host.info(queue).message_count for queue in ("app:json", "app:msgpack")):
                gevent.sleep(0)

    def call(self, function: str, argument: object) -> object:
        """Calls a function, after a turn of the hub: a process without one is taken for stalled."""
        gevent.sleep(0)
        return self.host.call(function, argument)


@pytest.fixture(scope="module")
def through(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, figures: Figures
) -> Iterator[Through]:
    before = request.session.testsfailed
    through = Through(tmp_path_factory.mktemp("values"))
    with through.host:
        yield through
    verdict = word(request.session.testsfailed - before)
    figures.rows.append(Row("fuzz, values", "memory", 5 * CASES, 0, 0, 0, 0, verdict))


@fuzz
@given(JSON_DOCUMENTS)
def test_json_arrives_as_it_was_published(through: Through, value: Any) -> None:
    expected = without_null_members({"v": value, "k": 1})
    assert same(through.publish("app:json", {"v": value, "k": 1}), expected)


@fuzz
@given(MSGPACK_DOCUMENTS)
def test_msgpack_arrives_as_it_was_published(through: Through, value: Any) -> None:
    expected = normalised({"v": value, "k": 1})
    assert same(through.publish("app:msgpack", {"v": value, "k": 1}), expected)


@fuzz
@given(MSGPACK_DOCUMENTS)
def test_arguments_and_results_of_calls_are_copies(through: Through, value: Any) -> None:
    assert same(through.call("app:echo", [value, 1]), normalised([value, 1]))


@fuzz
@given(JSON_DOCUMENTS)
def test_lua_writes_json_that_msgspec_reads_the_same(through: Through, value: Any) -> None:
    text = msgspec.json.encode([value, 1])
    again = through.call("app:again", text)
    assert isinstance(again, str)
    assert same(msgspec.json.decode(again), without_null_members([value, 1]))


odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=9),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.text(max_size=3), st.integers(), st.floats()), inner, max_size=3
        ),
        st.tuples(inner, inner),
    ),
    max_leaves=8,
)


@fuzz
@given(odd)
def test_whatever_a_program_publishes_or_passes_is_taken_or_refused(
    through: Through, value: Any
) -> None:
    host = through.host
    assert kind_of(partial(host.publish, "app:json", value)) in TAKEN_OR_REFUSED
    assert kind_of(partial(host.publish, "app:msgpack", value)) in TAKEN_OR_REFUSED
    through.wait_until_handled()
    # In a list, for a bare false would be a failure.
    assert kind_of(partial(through.call, "app:echo", [value])) in TAKEN_OR_REFUSED


TAKEN_OR_REFUSED = {None, Kind.INVALID}


def kind_of(act: Callable[[], object]) -> Kind | None:
    """Returns the kind of the error that came of it, if one did."""
    try:
        act()
    except WippyError as error:
        return error.kind
    return None
