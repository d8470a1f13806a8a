"""`python -m tests.benchmarks`; see run.py."""

from gevent import monkey

monkey.patch_all()

from tests.benchmarks.run import main  # noqa: E402 - patching comes first, as in the command line

main()
