"""What is measured: how many messages, of which size, by how many workers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Workload:
    """One run; `padding` is bytes of a string in the body, which has some 60 besides."""

    count: int
    padding: int
    concurrency: int = 4
