"""One native thread that does what blocks, so that the hub does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from gevent.threadpool import ThreadPool

T = TypeVar("T")


class NativeThread:
    """Runs functions one after the other; only the greenlet that asks for one waits for it."""

    def __init__(self) -> None:
        self._pool = ThreadPool(1)

    def run(self, function: Callable[..., T], *arguments: Any) -> T:
        """Returns what the function returns, or raises what it raises."""
        outcome: T | Exception = self._pool.apply(_outcome_of, (function, arguments))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def end(self) -> None:
        """Ends the thread."""
        self._pool.kill()


def _outcome_of(function: Callable[..., T], arguments: tuple[Any, ...]) -> T | Exception:
    try:
        return function(*arguments)
    except Exception as error:  # noqa: BLE001 - raised by `run`; the pool would print it as well
        return error
