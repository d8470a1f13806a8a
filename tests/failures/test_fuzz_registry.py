"""`_index.yaml` files that nobody would write: they load, or every problem has its place."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import fields

from tests.failures.crash import IS_LONG
from tests.failures.figures import Figures, Row, word
from tests.lua.vms import MIB
from tests.registry.apps import SPEC_INDEX
from wippy_lua.errors import ConfigError
from wippy_lua.registry.kinds import KINDS
from wippy_lua.registry.loader import load_folder

pytestmark = [pytest.mark.once, pytest.mark.timeout(600 if IS_LONG else 120)]

CASES = 20_000 if IS_LONG else 400
MAX_SECONDS = 1.0
MAX_MEMORY = 64 * MIB

fuzz = settings(
    max_examples=CASES // 2,
    deadline=None,
    database=None,
    derandomize=not IS_LONG,
    suppress_health_check=list(HealthCheck),
)


class Watch:
    """Loads texts as an app's only file; keeps the worst processor time and memory of a case."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.cases = self.refused = self.memory = 0
        self.seconds = 0.0

    def load(self, text: str) -> None:
        (self._folder / "_index.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
        before, begun = peak(), time.process_time()
        error = problems_of(self._folder)
        if error is not None:
            self.refused += 1
            check(error)
        self.cases += 1
        seconds, memory = time.process_time() - begun, peak() - before
        self.seconds, self.memory = max(self.seconds, seconds), max(self.memory, memory)
        assert seconds < MAX_SECONDS
        assert memory < MAX_MEMORY


def problems_of(folder: Path) -> ConfigError | None:
    try:
        load_folder(folder, env={"NAME": "value", "DEEP": "${env:DEEP}"})
    except ConfigError as error:
        return error
    return None


def check(error: ConfigError) -> None:
    """Fails unless each problem has a message and a place, and all can be shown."""
    assert error.problems
    for problem in error.problems:
        assert problem.file.endswith("_index.yaml"), problem
        assert problem.message, problem
        assert (problem.line > 0) == (problem.column > 0), problem
    str(error).encode()


def peak() -> int:
    """Returns the most memory that this process has ever had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.fixture(scope="module")
def watch(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, figures: Figures
) -> Iterator[Watch]:
    before = request.session.testsfailed
    watch = Watch(tmp_path_factory.mktemp("registry"))
    yield watch
    worst = f"at most {watch.seconds * 1000:.0f} ms, {watch.memory / MIB:.0f} MiB each"
    remark = f"{watch.refused} refused, {worst}"
    verdict = word(request.session.testsfailed - before)
    figures.rows.append(Row("fuzz, registry", "-", watch.cases, 0, 0, 0, 0, verdict, remark))


words = st.sampled_from(
    [
        "",
        " ",
        "app:x",
        ":",
        "::",
        "a:b:c",
        "../x",
        "file://x.lua",
        "file://",
        "10s",
        "-1s",
        "1e9h",
        "64MiB",
        "-1MiB",
        "${env:NAME}",
        "${env:DEEP}",
        "${env:",
        "${env:}",
        "${env:NO:-x}",
        "yes",
        "null",
        "~",
        "0x10",
        "1_000",
        "1e999",
        ".inf",
        ".nan",
        "\u202e",
        "\0",
        "\x85",
        "é" * 999,
        "9" * 5000,
        "=",
        "<<",
        "!!python/object:os.system",
        "memory",
    ]
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**40), 10**40),
    st.floats(),
    words,
    st.text(max_size=8),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(words, st.text(max_size=4)), inner, max_size=3),
    ),
    max_leaves=5,
)


@st.composite
def entries(draw: st.DrawFn) -> dict[str, object]:
    """An entry of some kind with fields of that kind, most of them wrong."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    names = [each.encode_name for each in fields(KINDS[kind].spec)]
    body = draw(st.dictionaries(st.sampled_from(names), values, max_size=4)) if names else {}
    name = draw(st.sampled_from(["x", "y", "z", "memory", "tasks"]))
    return {"name": name, "kind": kind, **body, **draw(st.dictionaries(words, values, max_size=1))}


@fuzz
@given(
    st.lists(st.one_of(entries(), values), max_size=6), st.dictionaries(words, values, max_size=1)
)
def test_entries_with_any_value_in_any_field(
    watch: Watch, found: list[object], more: dict[str, object]
) -> None:
    document = {"version": "1.0", "namespace": "app", "entries": found, **more}
    watch.load(json.dumps(document, ensure_ascii=False))  # JSON is YAML


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
pieces = st.sampled_from(
    [
        "&a ",
        "*a",
        "*a ",
        "<<: *a\n",
        "- ",
        "? ",
        ": ",
        "|\n",
        ">\n",
        "'",
        '"',
        "{",
        "}",
        "[",
        "]",
        "#",
        "%YAML 9.9\n",
        "---\n",
        "...\n",
        "!!binary ",
        "!x ",
        "\t",
        "\n",
        "  ",
        "\r",
        "\ufeff",
        "\u2028",
        "&a [*a]",
        "!!set {a}",
        ", ",
    ]
)


@fuzz
@given(
    st.sampled_from([SPEC_INDEX, LAUGHS]),
    st.lists(
        st.tuples(
            st.floats(0, 1), st.integers(0, 3), st.one_of(pieces, words, st.text(max_size=3))
        ),
        min_size=1,
        max_size=5,
    ),
)
def test_text_that_was_damaged(
    watch: Watch, text: str, changes: list[tuple[float, int, str]]
) -> None:
    for share, length, piece in changes:
        at = int(len(text) * share)
        text = text[:at] + piece + text[at + length :]
    watch.load(text)


LARGE = {
    "a billion laughs": f"{LAUGHS}entries: *a11",
    "a list of lists": "[" * 100_000,
    "a map of maps": "{a: " * 100_000,
    "lists that hold themselves": "- &a [*a]\n" * 1000,
    "many merges": "a: &a {b: 1}\nc: {" + "<<: *a, " * 50_000 + "}",
    "many fields": "".join(f"k{n}: {n}\n" for n in range(10_000)),
    "many entries": "version: '1.0'\nnamespace: a\nentries:\n" + "- {name: x, kind: y}\n" * 5_000,
    "a long number": "a: " + "9" * 1_000_000,
    "a long number in base 60": "a: 1" + ":59" * 100_000,
    "a long key": "? " + "k" * 1_000_000 + "\n: 1\n",
    "a long name": f"version: '1.0'\nnamespace: {'a' * 500_000}\nentries: []",
}


@pytest.mark.parametrize("name", LARGE)
def test_large_files_take_no_longer(watch: Watch, name: str) -> None:
    watch.load(LARGE[name])
