"""Runs pytest in a process that gevent has patched, as the command line and most servers are."""

from gevent import monkey

monkey.patch_all()

import sys  # noqa: E402 - patching comes first

import pytest  # noqa: E402

if __name__ == "__main__":
    sys.exit(pytest.main(sys.argv[1:]))
