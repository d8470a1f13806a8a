"""Finds the Lua modules of the standard library."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def stdlib_root() -> Path:
    """Returns the folder of Lua standard modules: packaged in a wheel, the repo's in a checkout."""
    packaged = Path(__file__).parents[1] / "stdlib"
    return packaged if packaged.is_dir() else Path(__file__).parents[3] / "stdlib"


def library_source(name: str) -> bytes | None:
    """Returns the source of a standard module, "json", or of a file of one, "time/point"."""
    if not all(word.isidentifier() for word in name.split("/")):
        return None
    file = stdlib_root() / f"{name}.lua"
    return file.read_bytes() if file.is_file() else None


@cache
def library_names() -> frozenset[str]:
    """Returns the names of all standard modules."""
    return frozenset(f.name[:-4] for f in stdlib_root().iterdir() if f.name.endswith(".lua"))
