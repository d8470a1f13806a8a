"""The messages of one publish on their way, and who waits for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from gevent.event import Event

from wippy_lua.clock import Clock
from wippy_lua.errors import Kind, PublishError, WippyError
from wippy_lua.queue.drivers.sqs.lane import Item, Result


class Publication:
    """Collects the results of `count` messages; one greenlet waits for all of them."""

    def __init__(self, count: int, clock: Clock) -> None:
        self._clock = clock
        self._results: dict[int, Result] = {}
        self._count = count
        self._failure: WippyError | None = None
        self._woken = Event()
        if not count:
            self._woken.set()

    def teller(self, index: int) -> Callable[[Result], None]:
        """Returns what is to be called with the result of one message."""
        return partial(self._tell, index)

    def fail(self, error: WippyError) -> None:
        """Ends the wait; this is the error of what has no result yet."""
        self._failure = error
        self._woken.set()

    def wait(self, timeout: float) -> None:
        """Blocks until every message has its result, at most `timeout` seconds."""
        timer = self._clock.call_later(timeout, self._woken.set)
        try:
            self._woken.wait()
        finally:
            timer.cancel()

    def check(self, items: Sequence[Item], timeout: float) -> None:
        """Raises the error of all, or PublishError when some were stored."""
        failed: dict[int, WippyError] = {}
        for index, item in enumerate(items):
            unanswered = self._failure or item.error or _no_answer(timeout)
            error = self._results.get(index, unanswered)
            if error is not None:
                failed[index] = error
        if len(failed) == self._count and failed:
            raise failed[0]
        if failed:
            raise PublishError(failed)

    def _tell(self, index: int, result: Result) -> None:
        self._results[index] = result
        if len(self._results) == self._count:
            self._woken.set()


def _no_answer(timeout: float) -> WippyError:
    return WippyError(f"sqs: no answer within {timeout:g}s", kind=Kind.TIMEOUT, retryable=True)
