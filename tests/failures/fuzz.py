"""Fuzzes the decoders with atheris, led by the code that is reached.

    pip install --group fuzz
    PYTHONPATH=host python -m tests.failures.fuzz 600 [TARGET ...]

shares 600 seconds out among the targets of `decoders.py` (default: all), each in a process of its
own. What fails is written to `crash-*` in the current folder: give it a line in `KNOWN` there.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

MAX_BYTES = 4096


def fuzz(name: str, seconds: int, corpus: Path) -> None:
    """Feeds one target; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["wippy_lua.queue.drivers"]):
        from tests.failures.decoders import TARGETS, seeds

    for number, data in enumerate(seeds()[name]):
        (corpus / f"seed-{number}").write_bytes(data)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={MAX_BYTES}",
        "-rss_limit_mb=1024",
        "-timeout=5",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], TARGETS[name])
    atheris.Fuzz()


def main(arguments: list[str]) -> int:
    """Runs every target that is named, one after the other; returns how many failed."""
    from tests.failures.decoders import TARGETS

    seconds, names = int(arguments[0]), arguments[1:] or list(TARGETS)
    failed = []
    for name in names:
        with tempfile.TemporaryDirectory() as corpus:
            share = str(max(1, seconds // len(names)))
            command = [sys.executable, "-m", "tests.failures.fuzz", "--one", name, share, corpus]
            if subprocess.run(command, check=False).returncode:
                failed.append(name)
    print(f"{len(names)} targets, failed: {', '.join(failed) or 'none'}")  # noqa: T201
    return len(failed)


if __name__ == "__main__":
    if sys.argv[1] == "--one":
        fuzz(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
    else:
        sys.exit(main(sys.argv[1:]))
