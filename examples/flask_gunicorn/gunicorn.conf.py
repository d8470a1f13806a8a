"""Starts a host with each worker and stops it with the worker.

Not in `when_ready` or with `preload_app`: those run in gunicorn's master, before the fork.
"""

from __future__ import annotations

from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker


def post_worker_init(worker: Worker) -> None:  # noqa: ARG001 - gunicorn's signature
    """Runs in the worker, patched and with the app loaded, before it takes requests."""
    from app import host  # the worker's own: the master never imports the app

    host.start()


def worker_exit(server: Arbiter, worker: Worker) -> None:  # noqa: ARG001
    """Runs once the worker's last request is answered, so nothing is published any more."""
    if not worker.booted:  # nothing was started, or this is the master's copy of the worker
        return
    from app import host

    host.stop()
