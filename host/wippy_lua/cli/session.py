"""One run of a host, from its start to its exit status."""

from __future__ import annotations

from collections.abc import Sequence

import gevent

from wippy_lua.cli.report import FAILED, OK, Notes
from wippy_lua.errors import CallError, Kind
from wippy_lua.host import Host
from wippy_lua.supervisor.state import Status

MAX_STATUS = 255


class Session:
    """Runs a host until its work is done or somebody asks for its stop."""

    def __init__(self, host: Host, notes: Notes) -> None:
        self._host = host
        self._notes = notes
        self._stopping: gevent.Greenlet[[], list[Exception]] | None = None

    def run(self, services: Sequence[str], arguments: Sequence[str], *, drain: bool) -> int:
        """Runs everything and returns the exit status; nothing runs any more by then."""
        status = FAILED
        try:
            status = self._work(services, arguments, drain=drain)
        finally:
            errors = self._stop().get()
            for error in errors:
                self._notes.error(str(error))
        return status or (FAILED if errors else OK)

    def interrupt(self) -> None:
        """Begins a graceful stop and returns at once; `run` ends with it."""
        self._stop()

    def _work(self, services: Sequence[str], arguments: Sequence[str], *, drain: bool) -> int:
        if not self._start(services):
            return FAILED
        if self._stopping is not None:
            return OK
        status = self._run_main(arguments)
        if drain:
            self._host.drain()
        elif status == OK:
            self._host.join()
        # Who asked for the stop knows what ran; a run that ends by itself has to say why.
        return status or (self._ended() if self._stopping is None else OK)

    def _start(self, services: Sequence[str]) -> bool:
        try:
            self._host.start()
            for service in services:
                self._host.start_service(service)
        except Exception as error:  # noqa: BLE001 - whatever a service raises, the run is over
            if self._stopping is not None:
                return True  # that is what ended the start
            self._notes.error(f"cannot start {self._name_of(error)}: {error}")
            return False
        return True

    def _run_main(self, arguments: Sequence[str]) -> int:
        try:
            result = self._host.run_main(arguments)
        except CallError as error:
            if self._stopping is not None and error.kind is Kind.CANCELED:
                return OK
            self._notes.error("\n".join(part for part in (error.message, error.stack) if part))
            return FAILED
        return self._status_of(result)

    def _status_of(self, result: object) -> int:
        if isinstance(result, bool) or not isinstance(result, int | float):
            return OK
        if not float(result).is_integer() or not OK <= result <= MAX_STATUS:
            self._notes.error(f"main.lua returned {result}, which is no exit status (0 to 255)")
            return FAILED
        return int(result)

    def _ended(self) -> int:
        """Tells by an exit status whether a service has failed for good."""
        failed = {
            name: state.error
            for name, state in self._host.services().items()
            if state.status is Status.EXITED and state.error is not None
        }
        for name, error in failed.items():
            self._notes.error(f"{name} failed for good: {error}")
        return FAILED if failed else OK

    def _name_of(self, error: Exception) -> str:
        states = self._host.services().items()
        return next((name for name, state in states if state.error is error), "the app")

    def _stop(self) -> gevent.Greenlet[[], list[Exception]]:
        if self._stopping is None:
            self._stopping = gevent.spawn(self._stop_host)
        return self._stopping

    def _stop_host(self) -> list[Exception]:
        try:
            self._host.stop()
        except ExceptionGroup as group:
            return list(group.exceptions)
        return []
