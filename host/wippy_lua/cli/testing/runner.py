"""Calls tests side by side, each in a greenlet and a VM of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from gevent.pool import Pool

from wippy_lua.assembly import App
from wippy_lua.call import Call
from wippy_lua.cli.testing.recorder import Recorder
from wippy_lua.cli.testing.result import Failure, Result, Run, Status
from wippy_lua.cli.testing.suite import Test
from wippy_lua.errors import Kind, WippyError
from wippy_lua.lua.modules.test import Case, Cases

NO_ARGUMENTS = b"\x90"  #: MessagePack's empty list

#: Is told of each test that begins, and of its results when it has ended.
Began: TypeAlias = Callable[[Test], None]
Ended: TypeAlias = Callable[[Test, Sequence[Result]], None]


class Runner:
    """Runs the tests of one app. `timeout` is seconds for each that has no limit of its own."""

    def __init__(
        self,
        app: App,
        recorder: Recorder,
        *,
        jobs: int,
        timeout: float,
        began: Began,
        ended: Ended,
    ) -> None:
        self._app = app
        self._recorder = recorder
        self._jobs = jobs
        self._timeout = timeout
        self._began = began
        self._ended = ended
        self._calls: set[Call] = set()
        self._interrupted = False

    def run(self, tests: Sequence[Test]) -> Run:
        """Starts the app, calls the tests, stops the app; raises what kept it from starting."""
        start = time.monotonic()
        self._app.start()
        ids = {test.id for test in tests}
        try:
            pool = Pool(self._jobs)
            found = pool.map(lambda test: self._run(test, ids), tests)
        finally:
            problems = self._stop()
        results = [result for each in found for result in each]
        if self._interrupted:
            problems.append("interrupted")
        return Run(results, time.monotonic() - start, problems)

    def interrupt(self) -> None:
        """Ends the tests that run and begins no more; returns at once."""
        self._interrupted = True
        for call in tuple(self._calls):
            call.interrupt()

    def _run(self, test: Test, ids: set[str]) -> list[Result]:
        if self._interrupted:
            results = [Result(test.id, test.suite, "", "skipped", 0.0)]
        else:
            self._began(test)
            results = self._call(test, ids)
        self._ended(test, results)
        return results

    def _call(self, test: Test, ids: set[str]) -> list[Result]:
        start = time.monotonic()
        limit = self._app.functions.program(test.id).timeout or self._timeout
        call = Call(test.id, deadline=start + limit, security=test.security)
        cases = self._app.tests.watch(call)
        self._calls.add(call)
        try:
            failure = self._failure_of(call)
        finally:
            self._calls.discard(call)
        spans = _spans(cases, failure, start, time.monotonic())
        return [self._result(test, span, ids) for span in spans]

    def _failure_of(self, call: Call) -> WippyError | None:
        try:
            self._app.functions.call(call, NO_ARGUMENTS)
        except WippyError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a fault of the host fails the test that met it
            return WippyError(f"internal error: {error!r}", kind=Kind.INTERNAL)
        return None

    def _result(self, test: Test, span: Case, ids: set[str]) -> Result:
        status: Status = "passed"
        failure = None
        if span.message is not None:
            status, failure = "failed", Failure.of(span.message, span.kind, span.stack)
            if self._interrupted and span.kind == Kind.CANCELED:
                status, failure = "skipped", None
        log = self._recorder.during(span.began, span.ended, test.id, ids)
        seconds = span.ended - span.began
        return Result(test.id, test.suite, span.name, status, seconds, failure, log)

    def _stop(self) -> list[str]:
        try:
            self._app.stop()
        except ExceptionGroup as group:
            return [str(error) for error in group.exceptions]
        return []


def _spans(cases: Cases, error: WippyError | None, start: float, end: float) -> Iterator[Case]:
    """Yields what is reported of a test: its cases, and itself when it has none or failed beside
    them. What ended it in the middle of a case is told of that."""
    yield from cases.ended
    if error is None:
        if not cases.ended:
            yield Case("", start, end)
        return
    name, began = cases.open[-1] if cases.open else ("", start)
    yield Case(name, began, end, error.message, error.kind, getattr(error, "stack", ""))
