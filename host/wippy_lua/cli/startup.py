"""What the command line decides for its whole process, before anything else is imported."""

from __future__ import annotations

import sys


def patch() -> None:
    """Makes the standard library cooperative, without the plugins of other distributions.

    gevent looks for them at each of some 25 modules that it patches, in every distribution there
    is: half of a short run's time.
    """
    from gevent import events, monkey

    events.notify_and_call_entry_points = events.notify
    monkey.patch_all()


def import_structlog() -> None:
    """Imports structlog without rich, which takes three times as long and of which we use nothing.

    structlog draws tracebacks with it where it is installed; ours are plain.
    """
    if "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment] - the documented way to hide a module
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
