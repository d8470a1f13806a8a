"""Who is served: those with the token, and without one this machine's own programs."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tests.admin.site import Site
from tests.host.apps import write_app
from wippy_lua import Host
from wippy_lua.admin.address import Address, is_loopback
from wippy_lua.admin.guard import TOKEN_VARIABLE, find_token
from wippy_lua.log import make_log
from wippy_lua.operations.local import LocalOperations

TOKEN = "correct-horse-battery-staple"  # noqa: S105 - a test's own
PROTECTED = ("/metrics", "/api/queues", "/api/services", "/nothing")


@pytest.fixture
def with_token(host: Host) -> Iterator[Site]:
    with Site(host, TOKEN) as site, host:
        yield site


@pytest.mark.parametrize("path", PROTECTED)
@pytest.mark.parametrize(
    "credentials", ["", TOKEN, f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer", "Bearer t\xf6ken"]
)
def test_without_the_right_token_nothing_is_served(
    with_token: Site, path: str, credentials: str
) -> None:
    answer = with_token.get(path, Authorization=credentials)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["kind"] == "PermissionDenied"
    assert "Authorization: Bearer" in answer.json()["message"]


def test_with_the_token_everything_is_served_whatever_the_host(with_token: Site) -> None:
    answer = with_token.get("/api/queues", Authorization=f"bearer {TOKEN}", Host="example.org")
    assert answer.status == 200


def test_health_asks_for_no_token_and_no_host(with_token: Site) -> None:
    for path in ("/healthz", "/readyz"):
        assert with_token.get(path, Host="10.1.2.3:9464").status == 200


def test_tokens_are_compared_in_constant_time(
    with_token: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[Any, Any]] = []

    def compare(left: bytes, right: bytes) -> bool:
        compared.append((left, right))
        return really(left, right)

    really = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    with_token.get("/api/queues", Authorization="Bearer guess")
    with_token.get("/api/queues")
    assert compared == [(b"guess", TOKEN.encode()), (b"", TOKEN.encode())]


def test_the_token_is_in_no_log_and_no_answer(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = StringIO()
    folder = write_app(tmp_path, "- {name: memory, kind: queue.driver.memory}\n")
    host = Host(folder, log=make_log("debug", "json", out))
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    line = f"Authorization: Bearer {TOKEN}\r\n".encode()
    with Site(host, TOKEN) as site, host:
        answers: list[object] = [
            site.ask("GET", "/metrics", headers=bearer),
            site.ask("GET", "/api/queues/app:none", headers=bearer),
            site.ask("POST", "/api/queues/app:none/purge", b"{", headers=bearer),
            site.ask("GET", "/api/queues", headers={"Authorization": f"Bearer {TOKEN}{TOKEN}"}),
            site.raw(line + b"\r\n"),
            site.raw(b"GET / HTTP/9\r\n" + line + b"\r\n"),
            site.raw(b"GET / HTTP/1.1\r\n" + line * 2000 + b"\r\n"),
            site.raw(b"GET / HTTP/1.1\r\nContent-Length: x\r\n" + line + b"\r\n"),
        ]
        monkeypatch.setattr(LocalOperations, "queues", broken)
        fault = site.ask("GET", "/api/queues", headers=bearer)
        answers.append(fault)
        assert (fault.status, fault.json()["kind"]) == (500, "Internal")
        assert "unforeseen" not in fault.json()["message"]
    assert "answering failed" in out.getvalue()
    assert "unforeseen" in out.getvalue()
    shown = capfd.readouterr()
    for text in (out.getvalue(), shown.out, shown.err, *map(repr, answers)):
        assert TOKEN not in text


def broken(*_: object) -> None:
    raise RuntimeError("unforeseen")


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:9464", 200),
        ("127.7.7.7", 200),
        ("LOCALHOST:80", 200),
        ("[::1]:9464", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:9464", 403),
        ("10.0.0.1", 403),
        ("[2001:db8::1]", 403),
        ("", 403),
    ],
)
def test_without_a_token_a_request_has_to_name_this_machine(
    site: Site, name: str, status: int
) -> None:
    for path in ("/api/queues", "/metrics"):
        assert site.get(path, Host=name).status == status


def test_without_a_token_others_are_not_served(host: Host) -> None:
    """As when the app is mounted in a server that listens to everybody."""
    app = host.admin_app()
    statuses: list[str] = []
    for remote in ("10.0.0.7", "127.0.0.1", "", "::ffff:10.0.0.7"):
        environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/api/services", "HTTP_HOST": "localhost"}
        app({**environ, "REMOTE_ADDR": remote}, lambda status, _headers: statuses.append(status))
    assert [status[:3] for status in statuses] == ["403", "200", "200", "403"]


def test_a_page_of_another_site_can_change_nothing(host: Host, site: Site) -> None:
    host.publish("app:dead", {"n": 1})
    path = "/api/queues/app:dead/purge"
    for content_type in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = site.ask("POST", path, b"{}", headers={"Content-Type": content_type})
        assert answer.status == 415
    with_charset = {"Content-Type": "application/json; charset=utf-8", "Sec-Fetch-Site": "none"}
    for place in ("cross-site", "same-site"):
        answer = site.ask("POST", path, {}, headers={"Sec-Fetch-Site": place})
        assert answer.status == 403
        assert site.get("/api/queues", Sec_Fetch_Site=place).status == 403
    assert site.ask("OPTIONS", path).status == 405  # so that its browser does not go on
    assert host.info("app:dead").ready == 1
    assert site.ask("POST", path, {}, headers=with_charset).json() == {"removed": 1}


@pytest.mark.parametrize(
    ("text", "host", "port", "is_local"),
    [
        ("127.0.0.1:9464", "127.0.0.1", 9464, True),
        ("127.1.2.3:1", "127.1.2.3", 1, True),
        ("localhost:0", "localhost", 0, True),
        ("[::1]:9464", "::1", 9464, True),
        ("0.0.0.0:9464", "0.0.0.0", 9464, False),  # noqa: S104 - it is to be refused
        ("[::]:9464", "::", 9464, False),
        ("10.0.0.1:65535", "10.0.0.1", 65535, False),
        ("example.org:80", "example.org", 80, False),
    ],
)
def test_addresses_are_read(text: str, host: str, port: int, is_local: bool) -> None:
    address = Address.parse(text)
    assert address == Address(host, port)
    assert address.is_loopback is is_local
    assert address.url == f"http://{text}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("9464", "HOST:PORT"),
        ("127.0.0.1", "HOST:PORT"),
        ("127.0.0.1:http", "HOST:PORT"),
        ("127.0.0.1:65536", "HOST:PORT"),
        ("127.0.0.1:-1", "HOST:PORT"),
        ("::1:9464", "[::1]:9464"),
        (":9464", "127.0.0.1:9464"),
    ],
)
def test_an_address_that_is_none_is_refused_with_the_cure(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        Address.parse(text)


def test_only_what_must_be_this_machine_is_loopback() -> None:
    assert not is_loopback("127.0.0.1.nip.io")
    assert not is_loopback("2130706433")


def test_the_token_comes_from_the_file_else_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"  {TOKEN}\n")
    assert find_token({TOKEN_VARIABLE: "other"}, file) == TOKEN
    assert find_token({TOKEN_VARIABLE: "other"}, None) == "other"
    assert find_token({}, None) is None


@pytest.mark.parametrize("text", ["", " ", "two words", "\x00", "pässword", "a\nb"])
def test_a_token_that_no_header_could_carry_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="one word of visible ASCII"):
        find_token({TOKEN_VARIABLE: text}, None)
