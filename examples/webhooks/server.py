"""Receives the webhooks of a payment provider: checks, stores, answers; Lua does the rest later.

POST /events takes one event. GET /accounts/NAME shows what the events have come to.

The signature is checked here and not in Lua, since it is about the bytes as they came: what is not
signed is neither parsed nor published, and no handler has to ask who sent an event.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import gevent
from gevent.event import Event
from gevent.pywsgi import WSGIServer
from signature import SignatureError, verify

from wippy_lua import Host, Kind, WippyError
from wippy_lua.log import make_log

APP = Path(__file__).with_name("app")
EVENTS = "webhooks:events"
BALANCE = "webhooks:balance"
MAX_BODY = 64 * 1024  # bytes of one event
PUBLISH_SECONDS = 2.0  # the sender tries again anyway, so it rather hears 503 soon
STOP_SECONDS = 5.0  # what requests in progress get when the server stops

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class Refusal(Exception):
    """An answer other than success: the status line, and why."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Receiver:
    """The WSGI application."""

    def __init__(self, host: Host, secrets: Sequence[bytes]) -> None:
        self._host = host
        self._secrets = secrets

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        """Answers one request with JSON."""
        headers = [("Content-Type", "application/json")]
        try:
            status, answer = self._route(environ)
        except Refusal as refusal:
            status, answer = refusal.status, {"error": str(refusal)}
        if status.startswith("503"):
            headers.append(("Retry-After", "5"))
        start_response(status, headers)
        return [json.dumps(answer).encode()]

    def _route(self, environ: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        match environ["REQUEST_METHOD"], environ["PATH_INFO"].split("/"):
            case "POST", ["", "events"]:
                return self._take(environ)
            case "GET", ["", "accounts", name]:
                return "200 OK", {"balance": self._host.call(BALANCE, name)}
            case _:
                raise Refusal("404 Not Found", "no such page")

    def _take(self, environ: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        body = read_body(environ)
        header = environ.get("HTTP_WEBHOOK_SIGNATURE", "")
        try:
            verify(self._secrets, header, body, time.time())
        except SignatureError as error:
            raise Refusal("401 Unauthorized", str(error)) from error
        event = parse(body)
        try:
            self._host.publish(EVENTS, event, timeout=PUBLISH_SECONDS)
        except WippyError as error:
            raise refusal_of(error) from error
        # Only now: the event is safe on the disk, and the sender need not keep it.
        return "202 Accepted", {"id": event["id"]}


def read_body(environ: dict[str, Any]) -> bytes:
    """Reads no more than an event may have, whatever length the sender claims."""
    body: bytes = environ["wsgi.input"].read(MAX_BODY + 1)
    if len(body) > MAX_BODY:
        raise Refusal("413 Content Too Large", f"an event has {MAX_BODY} bytes at most")
    return body


def parse(body: bytes) -> dict[str, Any]:
    """Returns the event; what its type needs is for the handler to know."""
    try:
        event = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal("400 Bad Request", f"not JSON: {error}") from error
    if not isinstance(event, dict):
        raise Refusal("400 Bad Request", "an event is an object")
    for field in ("id", "type"):
        if not isinstance(event.get(field), str) or not 0 < len(event[field]) <= 200:
            raise Refusal("400 Bad Request", f"an event needs {field!r}, of 200 characters at most")
    return event


def refusal_of(error: WippyError) -> Refusal:
    """Returns how to answer when an event could not be published."""
    if error.kind is Kind.INVALID:
        return Refusal("400 Bad Request", error.message)
    return Refusal("503 Service Unavailable", error.message)


def serve(port: int, secrets: Sequence[bytes], overrides: Sequence[str]) -> None:
    """Serves on 127.0.0.1 until SIGINT or SIGTERM."""
    stopping = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, stopping.set)
    with Host(APP, overrides=overrides, log=make_log()) as host:
        server = WSGIServer(("127.0.0.1", port), Receiver(host, secrets))
        server.start()
        print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
        stopping.wait()
        # The server first: no event may arrive at a host that has stopped.
        server.stop(timeout=STOP_SECONDS)


def main() -> None:
    """Reads the command line and the environment."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--set", action="append", default=[], metavar="NS:NAME.FIELD=VALUE")
    arguments = parser.parse_args()
    secrets = [each.encode() for each in os.environ.get("WEBHOOK_SECRETS", "").split(",") if each]
    if not secrets:
        sys.exit("WEBHOOK_SECRETS has to hold the secret, or the new and the old one: NEW,OLD")
    serve(arguments.port, secrets, arguments.set)


if __name__ == "__main__":
    main()
