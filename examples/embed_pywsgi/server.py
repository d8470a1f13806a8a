"""A web shop's order desk: HTTP in front, a queue behind it, and a Lua handler that does the work.

POST /orders takes an order and answers at once; GET / shows how many were handled.
"""

from __future__ import annotations

import argparse
import json
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from gevent.pywsgi import WSGIServer

from wippy_lua import Host, Kind, WippyError
from wippy_lua.log import make_log

APP = Path(__file__).with_name("app")
ORDERS = "shop:orders"
MAX_BODY = 64 * 1024  # bytes of one order
PUBLISH_SECONDS = 0.2  # a client rather hears "busy" soon than waits for room
STOP_SECONDS = 5.0  # what requests in progress get when the server stops

StartResponse = Callable[[str, list[tuple[str, str]]], Any]

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8"><meta http-equiv="refresh" content="1">
<title>Orders</title>
<h1>Orders</h1>
<table>
<tr><th>handled</th><td id="handled">{handled}</td></tr>
<tr><th>being handled</th><td id="in_flight">{in_flight}</td></tr>
<tr><th>waiting</th><td id="ready">{ready}</td></tr>
</table>
</html>
"""


class Stats:
    """What the Lua handler tells Python, through the module `stats`."""

    def __init__(self) -> None:
        self.handled = 0

    def count_handled(self) -> int:
        """Counts one handled order; handlers run on one hub, so this needs no lock."""
        self.handled += 1
        return self.handled


class Shop:
    """The WSGI application."""

    def __init__(self, host: Host, stats: Stats) -> None:
        self._host = host
        self._stats = stats

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Routes one request."""
        match environ["REQUEST_METHOD"], environ["PATH_INFO"]:
            case "GET", "/":
                return self._show(start_response)
            case "POST", "/orders":
                return self._take_order(environ["wsgi.input"].read(MAX_BODY + 1), start_response)
            case _:
                return _answer(start_response, "404 Not Found", {"error": "no such page"})

    def _show(self, start_response: StartResponse) -> Iterable[bytes]:
        info = self._host.info(ORDERS)
        page = PAGE.format(handled=self._stats.handled, in_flight=info.in_flight, ready=info.ready)
        start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
        return [page.encode()]

    def _take_order(self, body: bytes, start_response: StartResponse) -> Iterable[bytes]:
        if len(body) > MAX_BODY:
            return _answer(start_response, "413 Content Too Large", {"error": "order too large"})
        try:
            order = json.loads(body)
        except (ValueError, RecursionError) as error:
            return _answer(start_response, "400 Bad Request", {"error": f"not JSON: {error}"})
        if not isinstance(order, dict) or not isinstance(order.get("item"), str):
            return _answer(start_response, "400 Bad Request", {"error": "an order needs an item"})
        try:
            message_id = self._host.publish(ORDERS, order, timeout=PUBLISH_SECONDS)
        except WippyError as error:
            return _refuse(start_response, error)
        return _answer(start_response, "202 Accepted", {"id": message_id})


def _refuse(start_response: StartResponse, error: WippyError) -> Iterable[bytes]:
    if error.kind in {Kind.UNAVAILABLE, Kind.TIMEOUT}:
        busy = ("Retry-After", "1")
        return _answer(start_response, "503 Service Unavailable", {"error": error.message}, busy)
    if error.kind is Kind.INVALID:
        return _answer(start_response, "400 Bad Request", {"error": error.message})
    raise error


def _answer(
    start_response: StartResponse, status: str, value: object, *headers: tuple[str, str]
) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "application/json"), *headers])
    return [json.dumps(value).encode()]


def serve(port: int, overrides: list[str]) -> None:
    """Serves on 127.0.0.1 until SIGINT or SIGTERM."""
    stats = Stats()
    modules = {"stats": {"count_handled": stats.count_handled}}
    stopping = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, stopping.set)
    with Host(APP, modules=modules, overrides=overrides, log=make_log()) as host:
        server = WSGIServer(("127.0.0.1", port), Shop(host, stats))
        server.start()
        print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
        stopping.wait()
        # The server first: no order may arrive at a host that has stopped.
        server.stop(timeout=STOP_SECONDS)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--set", action="append", default=[], metavar="NS:NAME.FIELD=VALUE")
    arguments = parser.parse_args()
    serve(arguments.port, arguments.set)


if __name__ == "__main__":
    main()
