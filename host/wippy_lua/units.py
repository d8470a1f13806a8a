"""Durations and sizes as people write them: "1h30m" to seconds, "64MiB" to bytes."""

from __future__ import annotations

import math
import re

MAX_SECONDS = 365 * 24 * 3600  #: a longer duration is taken for a mistake
MAX_BYTES = 2**50  #: the same for sizes: 1PiB

# Multiplier and divisor: 300 / 1000 is exactly the nearest float to 0.3, 300 * 0.001 may not be.
_SECONDS = {
    "ns": (1, 1_000_000_000),
    "us": (1, 1_000_000),
    "µs": (1, 1_000_000),  # MICRO SIGN
    "μs": (1, 1_000_000),  # GREEK SMALL LETTER MU
    "ms": (1, 1_000),
    "s": (1, 1),
    "m": (60, 1),
    "h": (3600, 1),
}
_BYTES: dict[str, int] = {
    "": 1,
    "b": 1,
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", start=1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", start=1)},
}

_NUMBER = r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+"
_PART = re.compile(rf"({_NUMBER})({'|'.join(_SECONDS)})")
_DURATION = re.compile(rf"(?:(?:{_NUMBER})(?:{'|'.join(_SECONDS)}))+")
_PLAIN = re.compile(_NUMBER)
_SIZE = re.compile(rf"({_NUMBER}) ?([A-Za-z]*)")
_MAX_LENGTH = 64  #: characters; longer text is not worth reading

_DURATION_FORMS = (
    'must be a duration such as "250ms", "10s" or "1h30m" (units ns, us, ms, s, m, h) '
    "or a number of seconds"
)
_SIZE_FORMS = (
    'must be a size such as "64MiB" or "10KB" (units B, KB, MB, GB, TB, KiB, MiB, GiB, TiB) '
    "or a whole number of bytes"
)


def parse_duration(value: object) -> float:
    """Returns seconds; a bare number is seconds already.

    Raises `ValueError`, whose message says what is allowed, for anything else, for a negative
    duration and for one over a year.
    """
    seconds = _seconds(value)
    if seconds is None or math.isnan(seconds):
        raise ValueError(f"{_DURATION_FORMS}, not {_shown(value)}")
    if seconds < 0:
        raise ValueError(f"must not be negative, as {_shown(value)} is")
    if seconds > MAX_SECONDS:
        raise ValueError(f"must be at most 365 days (8760h), not {_shown(value)}")
    return seconds


def parse_size(value: object) -> int:
    """Returns bytes; a bare number is bytes already.

    Raises `ValueError`, whose message says what is allowed, for anything else, for a negative
    size, for a fraction of a byte and for one over 1PiB.
    """
    size = _bytes(value)
    if size is None or math.isnan(size):
        raise ValueError(f"{_SIZE_FORMS}, not {_shown(value)}")
    if size < 0:
        raise ValueError(f"must not be negative, as {_shown(value)} is")
    if size > MAX_BYTES:
        raise ValueError(f"must be at most 1024TiB, not {_shown(value)}")
    if size != int(size):
        raise ValueError(f"must be a whole number of bytes, not {_shown(value)}")
    return int(size)


def _seconds(value: object) -> float | None:
    if isinstance(value, str):
        return _seconds_of_text(value) if len(value) <= _MAX_LENGTH else None
    return _number(value)


def _seconds_of_text(text: str) -> float | None:
    unsigned = text.removeprefix("-")
    sign = 1 if unsigned == text else -1
    if _PLAIN.fullmatch(unsigned):
        return sign * float(unsigned)
    if not _DURATION.fullmatch(unsigned):
        return None
    return sign * sum(_part(match[1], match[2]) for match in _PART.finditer(unsigned))


def _part(number: str, unit: str) -> float:
    multiplier, divisor = _SECONDS[unit]
    return float(number) * multiplier / divisor


def _bytes(value: object) -> float | None:
    if not isinstance(value, str):
        return _number(value)
    unsigned = value.removeprefix("-")
    match = _SIZE.fullmatch(unsigned) if len(value) <= _MAX_LENGTH else None
    if match is None or match[2].lower() not in _BYTES:
        return None
    size = float(match[1]) * _BYTES[match[2].lower()]
    return size if unsigned == value else -size


def _number(value: object) -> float | None:
    # A bool is an int to Python, and never a number to whoever wrote it.
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # A larger int may not fit a float, and is beyond every limit here.
    if isinstance(value, int) and abs(value) > MAX_BYTES:
        return math.inf if value > 0 else -math.inf
    return value


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float) else f"a {type(value).__name__}"
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}..."
