from __future__ import annotations

import math

import pytest

from wippy_lua.units import parse_duration, parse_size


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("250ms", 0.25),
        ("300ms", 0.3),
        ("10s", 10.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("100us", 0.0001),
        ("100µs", 0.0001),
        ("5ns", 5e-9),
        ("0", 0.0),
        ("12", 12.0),
        (3, 3.0),
        (2.5, 2.5),
        (0, 0.0),
        ("8760h", 31_536_000.0),
    ],
)
def test_durations_become_seconds(value: object, seconds: float) -> None:
    assert parse_duration(value) == seconds


@pytest.mark.parametrize(
    "value",
    ["", "s", "10 s", "1d", "ten", "1h-3m", "\u0661s", "1" * 100 + "s", True, None, [1], b"1s"],
)
def test_what_is_no_duration_is_told_the_forms(value: object) -> None:
    with pytest.raises(ValueError, match=r'must be a duration such as "250ms"'):
        parse_duration(value)


@pytest.mark.parametrize("value", [-1, "-1s", "-5", -0.1, -math.inf])
def test_negative_durations_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        parse_duration(value)


@pytest.mark.parametrize("value", ["8761h", 31_536_001, math.inf, 2**1100])
def test_durations_over_a_year_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"must be at most 365 days \(8760h\)"):
        parse_duration(value)


def test_nan_is_no_duration() -> None:
    with pytest.raises(ValueError, match="not nan"):
        parse_duration(math.nan)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("64MiB", 64 * 1024**2),
        ("10KB", 10_000),
        ("1.5GiB", 3 * 1024**3 // 2),
        ("2 TiB", 2 * 1024**4),
        ("16kib", 16 * 1024),
        ("7B", 7),
        ("1024", 1024),
        (1024, 1024),
        (4.0, 4),
        (0, 0),
    ],
)
def test_sizes_become_bytes(value: object, size: int) -> None:
    result = parse_size(value)
    assert result == size
    assert type(result) is int


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("64Mi", 'must be a size such as "64MiB"'),
        ("", 'must be a size such as "64MiB"'),
        (True, 'must be a size such as "64MiB"'),
        (None, 'must be a size such as "64MiB".*not a NoneType'),
        (math.nan, 'must be a size such as "64MiB"'),
        (-1, "must not be negative"),
        ("-1KB", "must not be negative"),
        ("1.5B", "must be a whole number of bytes"),
        (0.5, "must be a whole number of bytes"),
        ("2000TiB", "must be at most 1024TiB"),
        (math.inf, "must be at most 1024TiB"),
    ],
)
def test_what_is_no_size_is_told_why(value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_size(value)
