"""The verbs of an operator over HTTP: what `Operations` does, and services."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Protocol

import msgspec

from wippy_lua.admin.exchange import NDJSON, Request, Response, json_response, lines
from wippy_lua.errors import Kind, WippyError
from wippy_lua.operations.contract import Operations
from wippy_lua.operations.values import Progress, Publication, Selection
from wippy_lua.supervisor.state import ServiceState

DEFAULT_PEEK = 10  #: messages of a peek that names no limit


class ReplayOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a replay is asked for."""

    selection: Selection = Selection()
    rate: float | None = None  #: messages a second
    dry_run: bool = False


class DropOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a drop is asked for."""

    selection: Selection = Selection()
    dry_run: bool = False


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a verb that needs none."""


class ServiceStatus(msgspec.Struct, frozen=True):
    """A service at one moment; `since` is Unix time."""

    id: str
    status: str
    error: str | None
    restarts: int
    since: float


class Services(Protocol):
    """The services of a host, as far as operators may touch them."""

    def services(self) -> Mapping[str, ServiceState]: ...
    def start_service(self, name: str) -> None: ...
    def stop_service(self, name: str) -> None: ...


class Api:
    """Answers requests with what operations return; their errors are left to the caller."""

    def __init__(self, operations: Operations, services: Services) -> None:
        self._operations = operations
        self._services = services

    def queues(self, _request: Request) -> Response:
        return json_response(self._operations.queues())

    def queue(self, _request: Request, queue: str) -> Response:
        return json_response(self._operations.queue(queue))

    def peek(self, request: Request, queue: str) -> Response:
        return json_response(self._operations.peek(queue, request.number("limit", DEFAULT_PEEK)))

    def publish(self, request: Request, queue: str) -> Response:
        message_id = self._operations.publish(queue, request.json(Publication))
        return json_response({"id": message_id}, 201)

    def purge(self, request: Request, queue: str) -> Response:
        request.json(Nothing)
        return json_response({"removed": self._operations.purge(queue)})

    def pause(self, request: Request, queue: str) -> Response:
        request.json(Nothing)
        self._operations.pause(queue)
        return json_response({"paused": True})

    def resume(self, request: Request, queue: str) -> Response:
        request.json(Nothing)
        self._operations.resume(queue)
        return json_response({"paused": False})

    def dead_letters(self, request: Request, queue: str) -> Response:
        """Shows dead letters. A POST: on some brokers they are taken and given back."""
        return json_response(self._operations.dead_letters(queue, request.json(Selection)))

    def replay(self, request: Request, queue: str) -> Response:
        order = request.json(ReplayOrder)
        return _streamed(
            self._operations.replay(queue, order.selection, rate=order.rate, dry_run=order.dry_run)
        )

    def drop(self, request: Request, queue: str) -> Response:
        order = request.json(DropOrder)
        return _streamed(self._operations.drop(queue, order.selection, dry_run=order.dry_run))

    def services(self, _request: Request) -> Response:
        states = self._services.services().items()
        return json_response([_status(name, state) for name, state in states])

    def start_service(self, request: Request, service: str) -> Response:
        request.json(Nothing)
        self._services.start_service(service)
        return self._service(service)

    def stop_service(self, request: Request, service: str) -> Response:
        request.json(Nothing)
        try:
            self._services.stop_service(service)
        except ExceptionGroup as group:
            text = "; ".join(map(str, group.exceptions))
            raise WippyError(text, kind=Kind.TIMEOUT, retryable=False) from group
        return self._service(service)

    def _service(self, name: str) -> Response:
        return json_response(_status(name, self._services.services()[name]))


def _streamed(progress: Iterator[Progress]) -> Response:
    """Sends progress as it comes. Whoever goes away closes the iterator, which ends the work.

    What fails at once is still told by the status.
    """
    first = list(islice(progress, 1))
    return Response(200, lines(first, progress), NDJSON)


def _status(name: str, state: ServiceState) -> ServiceStatus:
    error = None if state.error is None else str(state.error)
    return ServiceStatus(name, state.status.value, error, state.restarts, state.since)
