"""The process of a soak, patched: `python -m tests.failures.soak_process FOLDER SECONDS SEED`.

Prints what it saw as JSON.
"""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402 - patching comes first
import sys  # noqa: E402
from dataclasses import asdict  # noqa: E402
from pathlib import Path  # noqa: E402

from tests.failures.soak import run  # noqa: E402

if __name__ == "__main__":
    folder, seconds, seed = sys.argv[1:]
    print(json.dumps(asdict(run(Path(folder), float(seconds), int(seed)))))  # noqa: T201
