"""What the command line decides for its whole process, before anything else is imported."""

from __future__ import annotations

import sys
from types import ModuleType


def patch() -> None:
    """Makes the standard library cooperative, without the plugins of other distributions.

    gevent looks for them at each of some 25 modules that it patches, in every distribution there
    is: half of a short run's time.
    """
    from gevent import events, monkey

    setattr(events, "notify_and_call_entry_points", getattr(events, "notify"))  # noqa: B009, B010 - untyped
    monkey.patch_all()


def import_structlog() -> None:
    """Imports structlog without rich, which takes three times as long and of which we use nothing.

    structlog draws tracebacks with it where it is installed; ours are plain.
    """
    if "rich" in sys.modules:
        return
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]
    modules["rich"] = None  # how a module is hidden from `import`
    try:
        import structlog  # noqa: F401
    finally:
        del modules["rich"]
