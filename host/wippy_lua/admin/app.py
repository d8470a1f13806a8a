"""The admin pages as a WSGI app: which path is answered by what."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from wippy_lua.admin.api import Api
from wippy_lua.admin.exchange import (
    Header,
    Refusal,
    Request,
    Response,
    error_line,
    error_response,
    json_response,
)
from wippy_lua.admin.guard import Guard
from wippy_lua.admin.health import Health, Problem
from wippy_lua.admin.metrics_page import MetricsPage
from wippy_lua.errors import Kind, WippyError
from wippy_lua.log import Log

StartResponse = Callable[[str, list[Header]], object]
Answer = Callable[..., Response]

#: What everybody may see: those who watch processes have no tokens to give.
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})

#: Sent with everything: nothing here is a page, and nothing is to be kept.
SAFE_HEADERS: Final = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))


class AdminApp:
    """A WSGI app for a server in the host's own hub; it blocks only the greenlet that calls it."""

    def __init__(
        self, health: Health, metrics: MetricsPage, api: Api, guard: Guard, log: Log
    ) -> None:
        self._health = health
        self._guard = guard
        self.log = log.bind(logger="admin")
        self._routes: Sequence[tuple[str, str, Answer]] = (
            ("GET", "/healthz", self._healthz),
            ("GET", "/readyz", self._readyz),
            ("GET", "/metrics", metrics.show),
            ("GET", "/api/queues", api.queues),
            ("GET", "/api/queues/{queue}", api.queue),
            ("GET", "/api/queues/{queue}/messages", api.peek),
            ("POST", "/api/queues/{queue}/messages", api.publish),
            ("POST", "/api/queues/{queue}/purge", api.purge),
            ("POST", "/api/queues/{queue}/pause", api.pause),
            ("POST", "/api/queues/{queue}/resume", api.resume),
            ("POST", "/api/queues/{queue}/dead-letters", api.dead_letters),
            ("POST", "/api/queues/{queue}/dead-letters/replay", api.replay),
            ("POST", "/api/queues/{queue}/dead-letters/drop", api.drop),
            ("GET", "/api/services", api.services),
            ("POST", "/api/services/{service}/start", api.start_service),
            ("POST", "/api/services/{service}/stop", api.stop_service),
        )

    def __call__(
        self, environ: Mapping[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        request = Request(environ)
        response = self._answer(request)
        headers = [("Content-Type", response.content_type), *SAFE_HEADERS, *response.headers]
        if not isinstance(response.body, bytes):
            start_response(response.status_line, headers)
            return self._watched(request, response.body)
        headers.append(("Content-Length", str(len(response.body))))
        start_response(response.status_line, headers)
        return [] if request.method == "HEAD" else [response.body]

    def _answer(self, request: Request) -> Response:
        try:
            if request.path not in OPEN_PATHS:
                self._guard.check(request)
            answer, places = self._route(request)
            return answer(request, **places)
        except WippyError as error:
            return error_response(error)
        except Exception as error:  # noqa: BLE001 - a fault of ours ends a request, no more
            return error_response(self._fault(request, error))

    def _route(self, request: Request) -> tuple[Answer, Mapping[str, str]]:
        method = "GET" if request.method == "HEAD" else request.method
        allowed = set()
        for verb, pattern, answer in self._routes:
            places = match(pattern, request.path)
            if places is None:
                continue
            if verb == method:
                return answer, places
            allowed.add(verb)
        if not allowed:
            raise Refusal(404, f"there is nothing at {request.path}", kind=Kind.NOT_FOUND)
        names = ", ".join(sorted(allowed))
        raise Refusal(405, f"{request.path} takes {names} only", headers=(("Allow", names),))

    def _watched(self, request: Request, body: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from body
        except Exception as error:  # noqa: BLE001 - the head has been sent: all that is left is to stop
            yield error_line(self._fault(request, error))

    def _fault(self, request: Request, error: Exception) -> WippyError:
        self.log.error("answering failed", path=request.path, exc_info=error)
        return WippyError("internal error: the host's log tells more", kind=Kind.INTERNAL)

    def _healthz(self, _request: Request) -> Response:
        return _report(self._health.problems())

    def _readyz(self, _request: Request) -> Response:
        return _report(self._health.missing())


def match(pattern: str, path: str) -> Mapping[str, str] | None:
    """Returns what stands at the `{places}` of a pattern; None when the path is another one."""
    wanted, found = pattern.split("/"), path.split("/")
    if len(wanted) != len(found):
        return None
    places = {}
    for want, have in zip(wanted, found, strict=True):
        if want.startswith("{") and have:
            places[want[1:-1]] = have
        elif want != have:
            return None
    return places


def _report(problems: Sequence[Problem]) -> Response:
    status = "fail" if problems else "ok"
    return json_response({"status": status, "problems": problems}, 503 if problems else 200)
