"""Decoders of what others wrote, fed with damaged and with any bytes.

`tests/failures/fuzz.py` feeds them for as long as one likes, led by what is reached.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.failures.crash import IS_LONG
from tests.failures.decoders import KNOWN, TARGETS, seeds
from tests.failures.figures import Figures, Row, word

pytestmark = [pytest.mark.once, pytest.mark.timeout(600 if IS_LONG else 120)]

CASES = 2_000 if IS_LONG else 100
SEEDS = seeds()

fuzz = settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    derandomize=not IS_LONG,
    suppress_health_check=list(HealthCheck),
)

#: Where as a share of the length, how many bytes go, and what comes in their place.
damage = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 4), st.binary(max_size=6)), min_size=1, max_size=4
)


def damaged(data: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    for share, length, piece in changes:
        at = int(len(data) * share)
        data = data[:at] + piece + data[at + length :]
    return data


@pytest.fixture(scope="module", autouse=True)
def row(request: pytest.FixtureRequest, figures: Figures) -> Iterator[None]:
    """Adds the line of this file, with what its tests came to."""
    before = request.session.testsfailed
    yield
    verdict, cases = word(request.session.testsfailed - before), 2 * CASES * len(TARGETS)
    figures.rows.append(Row("fuzz, decoders", "-", cases, 0, 0, 0, 0, verdict))


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_input_is_understood_or_refused(name: str) -> None:
    @fuzz
    @given(st.sampled_from(SEEDS[name]), damage)
    def feed(data: bytes, changes: list[tuple[float, int, bytes]]) -> None:
        TARGETS[name](damaged(data, changes))

    feed()


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_are_understood_or_refused(name: str) -> None:
    @fuzz
    @given(st.binary(max_size=80))
    def feed(data: bytes) -> None:
        TARGETS[name](data)

    feed()


@pytest.mark.parametrize(
    ("name", "data"), [(name, data) for name, all_ in KNOWN.items() for data in all_]
)
def test_what_was_not_understood_once_is_now(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_input_without_damage_is_understood(name: str) -> None:
    for data in SEEDS[name]:
        TARGETS[name](data)
