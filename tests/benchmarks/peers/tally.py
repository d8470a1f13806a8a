"""Counts calls of a peer's task, and writes down how long they took."""

import json
import os
import time
from pathlib import Path

URL = os.environ["BENCH_URL"]
QUEUE = os.environ["BENCH_QUEUE"]
COUNT = int(os.environ["BENCH_COUNT"])
RESULT = Path(os.environ["BENCH_RESULT"])
BODY = {
    "id": 1,
    "action": "process",
    "user": "someone@example.org",
    "data": "0123456789abcdef",
}


class Tally:
    """The calls so far and the time of the first one."""

    def __init__(self) -> None:
        self._count = 0
        self._first = 0.0

    def add(self) -> None:
        """Counts a call; the last one writes the result."""
        self._count += 1
        if self._count == 1:
            self._first = time.perf_counter()
        if self._count == COUNT:
            _write({"seconds": time.perf_counter() - self._first})


def _write(result: object) -> None:
    part = RESULT.with_suffix(".part")
    part.write_text(json.dumps(result))
    part.rename(RESULT)  # so that nobody reads half of it
