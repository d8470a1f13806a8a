"""The routes of /api: statuses, bodies, errors, and streams that end with their readers."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import gevent
import pytest

from tests.admin.site import JSON, Site
from tests.host.apps import make_host, wait_for
from wippy_lua import Host
from wippy_lua.admin.app import match
from wippy_lua.admin.exchange import MAX_BODY, STATUS_OF_KIND
from wippy_lua.admin.server import GONE_SECONDS, MAX_HEADERS
from wippy_lua.errors import Kind
from wippy_lua.operations.local import LocalOperations
from wippy_lua.operations.values import Progress

LETTERS = "/api/queues/app:dead/dead-letters"


def bury(host: Host, count: int) -> None:
    for n in range(count):
        host.publish("app:tasks", {"n": n, "act": "reject"})
    wait_for(lambda: host.info("app:dead").ready == count)


def test_queues_are_listed_and_shown(host: Host, site: Site) -> None:
    host.publish("app:dead", {"n": 1})
    listed = site.get("/api/queues")
    assert (listed.status, listed.headers["Content-Type"]) == (200, JSON)
    assert [queue["id"] for queue in listed.json()] == ["app:dead", "app:tasks"]
    shown = site.get("/api/queues/app:tasks").json()
    assert shown["dead_letter_queue"] == "app:dead"
    assert (shown["dead_letters"], shown["paused"], shown["consumers"]) == (1, False, 1)


def test_publish_and_peek(site: Site) -> None:
    path = "/api/queues/app:dead/messages"
    published = site.post(path, {"body": {"n": 1}, "headers": {"correlation_id": "c"}, "id": "m-1"})
    assert (published.status, published.json()) == (201, {"id": "m-1"})
    [message] = site.get(path).json()
    assert (message["id"], message["body"]) == ("m-1", {"n": 1})
    assert message["headers"]["correlation_id"] == "c"
    assert site.get(f"{path}?limit=0").status == 400
    assert site.get(f"{path}?limit=1001").status == 400
    assert len(site.get(f"{path}?limit=1000").json()) == 1


@pytest.mark.parametrize("query", ["limit=x", "limit=-1", "limit=1&limit=2", "limit=%C2%B2"])
def test_a_limit_that_is_no_number_is_refused(site: Site, query: str) -> None:
    answer = site.get(f"/api/queues/app:dead/messages?{query}")
    assert (answer.status, answer.json()["kind"]) == (400, "Invalid")


def test_pause_and_resume(host: Host, site: Site) -> None:
    assert site.post("/api/queues/app:tasks/pause").json() == {"paused": True}
    host.publish("app:tasks", {"n": 1})
    assert host.info("app:tasks").ready == 1
    assert site.post("/api/queues/app:tasks/resume").json() == {"paused": False}
    wait_for(lambda: host.info("app:tasks").message_count == 0)


def test_purge(host: Host, site: Site) -> None:
    host.publish("app:dead", {"n": 1})
    assert site.post("/api/queues/app:dead/purge").json() == {"removed": 1}


def test_dead_letters_are_shown_replayed_and_dropped(host: Host, site: Site) -> None:
    bury(host, 3)
    shown = site.post(LETTERS, {"limit": 2}).json()
    assert [letter["death"]["original_queue"] for letter in shown] == ["app:tasks"] * 2
    chosen = {"ids": [shown[0]["id"]]}
    trial = site.post(f"{LETTERS}/replay", {"selection": chosen, "dry_run": True})
    assert trial.headers["Content-Type"] == "application/x-ndjson"
    assert trial.lines()[-1] == {"done": 1, "skipped": 2, "left": {}, "total": 3, "finished": True}
    assert host.info("app:dead").ready == 3
    assert site.post(f"{LETTERS}/drop", {"selection": chosen}).lines()[-1]["done"] == 1
    site.post("/api/queues/app:tasks/pause")
    assert site.post(f"{LETTERS}/replay").lines()[-1]["done"] == 2
    assert (host.info("app:tasks").ready, host.info("app:dead").ready) == (2, 0)


def test_services_are_listed_stopped_and_started(site: Site) -> None:
    listed = {service["id"]: service["status"] for service in site.get("/api/services").json()}
    assert listed == {"app:memory": "Running", "app:worker": "Running"}
    assert site.post("/api/services/app:worker/stop").json()["status"] == "Stopped"
    assert site.post("/api/services/app:worker/start").json()["status"] == "Running"
    for verb in ("start", "stop"):
        answer = site.post(f"/api/services/app:none/{verb}")
        assert (answer.status, answer.json()["kind"]) == (404, "NotFound")


def test_a_service_that_had_to_be_interrupted_is_a_timeout(host: Host, site: Site) -> None:
    host.publish("app:tasks", {"wait": True})
    wait_for(lambda: host.info("app:tasks").in_flight)
    answer = site.post("/api/services/app:worker/stop")
    assert (answer.status, answer.json()["kind"]) == (504, "Timeout")
    assert "app:handler" in answer.json()["message"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "says"),
    [
        ("GET", "/", None, 404, "nothing at /"),
        ("GET", "/api/queues/", None, 404, "nothing"),
        ("GET", "/api/queues/app:none", None, 404, "'app:none' not found"),
        ("GET", "/api/queues/app:dead/purge", None, 405, "POST only"),
        ("DELETE", "/api/queues/app:dead", None, 405, "GET only"),
        ("POST", "/healthz", {}, 405, "GET only"),
        ("POST", "/api/queues/app:dead/messages", {}, 400, "`body`"),
        ("POST", "/api/queues/app:dead/messages", b"{", 400, "truncated"),
        ("POST", "/api/queues/app:dead/messages", b"[" * 100_000, 400, "does not fit"),
        ("POST", "/api/queues/app:dead/messages", {"body": 1, "bdoy": 2}, 400, "bdoy"),
        ("POST", "/api/queues/app:dead/messages", {"body": 1, "delay": "soon"}, 400, "delay"),
        ("POST", "/api/queues/app:dead/purge", {"force": True}, 400, "force"),
        ("POST", f"{LETTERS}/replay", {"rate": 0}, 400, "rate"),
        ("POST", f"{LETTERS}/replay", {"selection": {"limit": "all"}}, 400, "limit"),
        ("POST", "/api/queues/app:none/dead-letters/drop", {}, 404, "not found"),
    ],
)
def test_what_cannot_be_served_is_an_error_in_json(
    site: Site, method: str, path: str, body: object, status: int, says: str
) -> None:
    answer = site.ask(method, path, body)
    assert (answer.status, answer.headers["Content-Type"]) == (status, JSON)
    error = answer.json()
    assert set(error) == {"kind", "message", "retryable", "details"}
    assert says in error["message"]
    if status == 405:
        assert answer.headers["Allow"] in ("GET", "POST")


def test_a_full_queue_is_unavailable_for_now(tmp_path: Path) -> None:
    entries = """\
    - {name: memory, kind: queue.driver.memory}
    - {name: small, kind: queue.queue, driver: memory, options: {max_length: 1}}
    """
    host = make_host(tmp_path, entries)
    with Site(host) as site, host:
        path, body = "/api/queues/app:small/messages", {"body": 1, "timeout": 0}
        assert site.post(path, body).status == 201
        answer = site.post(path, body)
        assert answer.status == 503
        assert answer.json()["details"] == {"queue": "app:small", "max_length": 1}
        assert answer.json()["retryable"] is True


def test_every_kind_of_error_has_a_status() -> None:
    assert set(STATUS_OF_KIND) == set(Kind)


@pytest.mark.parametrize(
    ("path", "places"),
    [
        ("/api/queues/app:q", {"queue": "app:q"}),
        ("/api/queues/", None),
        ("/api/queues/a/b", None),
        ("/api/queue/a", None),
        ("api/queues/a", None),
    ],
)
def test_paths_match_patterns(path: str, places: Mapping[str, str] | None) -> None:
    assert match("/api/queues/{queue}", path) == places


# Limits


def test_a_body_over_the_limit_is_refused(site: Site) -> None:
    answer = site.ask("POST", "/api/queues/app:dead/messages", b"1" * (MAX_BODY + 1))
    assert (answer.status, answer.json()["message"]) == (
        413,
        f"the body is over the limit of {MAX_BODY} bytes",
    )


def test_a_body_in_chunks_is_held_to_the_limit(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wippy_lua.admin.exchange.MAX_BODY", 20)
    head = (
        b"POST /api/queues/app:dead/messages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    small, large = b'{"body": 1}', b'{"body": 12345678901}'
    assert b" 201 " in site.raw(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(small), small))
    assert b" 413 " in site.raw(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(large), large))


def test_headers_have_limits(site: Site) -> None:
    line = b"X-Filler: " + b"x" * 1000 + b"\r\n"
    fits = line * (MAX_HEADERS // len(line) - 1)
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    assert b" 200 " in site.raw(head + fits + b"\r\n")
    assert b" 400 " in site.raw(head + fits + line * 2 + b"\r\n")
    assert b" 400 " in site.raw(head + b"X: 1\r\n" * 101 + b"\r\n")
    assert b" 400 " in site.raw(head + b"X: " + b"x" * 70_000 + b"\r\n\r\n")
    assert b" 414 " in site.raw(b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n")


def test_connections_are_reused(site: Site) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    text = site.raw(head + b"\r\n" + head + b"Connection: close\r\n\r\n")
    assert text.count(b"HTTP/1.1 200 OK") == 2


# Readers that go away


def test_a_reader_that_goes_away_ends_a_fast_replay(host: Host, site: Site) -> None:
    bury(host, 60)
    site.post("/api/queues/app:tasks/pause")  # else they would die again
    connection = begin_replay(site, rate=50)
    wait_for(lambda: host.info("app:dead").ready < 60)
    site.away(connection.close)
    wait_for(lambda: not host.info("app:dead").in_flight, timeout=2 * GONE_SECONDS + 1)
    check_that_it_rests(host)


def test_a_reader_that_goes_away_ends_a_slow_replay_at_once(host: Host, site: Site) -> None:
    bury(host, 3)
    site.post("/api/queues/app:tasks/pause")
    connection = begin_replay(site, rate=0.1)
    wait_for(lambda: host.info("app:dead").message_count == 2)
    began = time.monotonic()
    site.away(connection.close)
    wait_for(lambda: not site.server.connections)
    assert time.monotonic() - began < GONE_SECONDS + 1.0
    assert host.info("app:dead").ready == 2


def test_work_that_says_nothing_is_interrupted_when_its_reader_goes_away(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while a broker does not answer: no write would tell."""
    ended: list[str] = []

    def silent(*_: object, **__: object) -> Iterator[Progress]:
        try:
            yield Progress()
            gevent.sleep(60)
        finally:
            ended.append("here")

    monkeypatch.setattr(LocalOperations, "replay", silent)
    connection = begin_replay(site, rate=1)
    began = time.monotonic()
    site.away(connection.close)
    wait_for(lambda: ended)
    assert GONE_SECONDS - 0.1 < time.monotonic() - began < GONE_SECONDS + 1.0


def begin_replay(site: Site, rate: float) -> socket.socket:
    body = f'{{"rate": {rate}}}'
    head = (
        f"POST {LETTERS}/replay HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )
    address = site.server.address

    def begin() -> socket.socket:
        connection = socket.create_connection((address.host, address.port), 10.0)
        connection.sendall(head.encode())
        assert connection.recv(15) == b"HTTP/1.1 200 OK"
        return connection

    return site.away(begin)


def check_that_it_rests(host: Host) -> None:
    left = host.info("app:dead").ready
    assert left
    gevent.sleep(0.2)
    assert host.info("app:dead").ready == left
