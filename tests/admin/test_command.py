"""`wippy-lua run --admin`: the real command, asked by another process."""

from __future__ import annotations

import re
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.cli.command import QUEUE, Running, app
from wippy_lua import Host
from wippy_lua.admin.address import Address
from wippy_lua.admin.guard import TOKEN_VARIABLE
from wippy_lua.cli.admin import admin_server
from wippy_lua.cli.commands import cli
from wippy_lua.cli.signals import Signals
from wippy_lua.log import NullLog

TOKEN = "tell-nobody-of-this"  # noqa: S105 - a test's own
HANDLER = """\
local logger, time = require("logger"), require("time")
return function() logger.info("begun") time.sleep("1h") end
"""
PUBLISH = 'require("queue").publish("app:tasks", {n = 1})'
OPEN = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def status(url: str, token: str = "") -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with OPEN.open(urllib.request.Request(url, headers=headers), timeout=10) as answer:  # noqa: S310 - it is a server of ours
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def url_of(run: Running) -> str:
    found = re.search(r"admin server at (http://[^\s\"]+)", run.wait_for("admin server at "))
    assert found is not None
    return found[1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return app(tmp_path, QUEUE.replace("[queue, logger]", "[logger, time]"), handler=HANDLER)


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)


@pytest.mark.once
@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0"])
def test_the_real_address_is_told_and_served_until_the_end(folder: Path, address: str) -> None:
    with Running("run", folder, "--admin", address, "--log-format", "json") as run:
        url = url_of(run)
        assert url.startswith(f"http://{address[:-1]}")
        run.wait_for("consumer started")
        for path in ("/healthz", "/metrics", "/api/queues"):
            assert status(url + path) == 200
        run.signal(signal.SIGTERM)
        assert run.finish() == 0
        assert run.records()[0]["logger"] == "cli"
        with pytest.raises(urllib.error.URLError):
            status(url + "/healthz")


@pytest.mark.once
def test_the_server_is_there_while_the_host_stops(folder: Path) -> None:
    app(folder, main=PUBLISH)
    with Running("run", folder, "--admin", "127.0.0.1:0") as run:
        url = url_of(run)
        run.wait_for("begun")
        assert status(url + "/readyz") == 200
        run.signal(signal.SIGTERM)
        run.wait_for("SIGTERM")
        assert status(url + "/healthz") == 200
        assert status(url + "/readyz") == 503
        assert run.finish() == 1  # its handler had to be interrupted


@pytest.mark.once
def test_with_a_token_all_addresses_are_served_to_those_who_know_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    with Running("run", folder, "--admin", "0.0.0.0:0", "--log-level", "debug") as run:
        url = url_of(run).replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - that is what it tells
        run.wait_for("consumer started")
        assert status(f"{url}/healthz") == 200
        assert status(f"{url}/api/queues") == 401
        assert status(f"{url}/api/queues", "wrong") == 401
        assert status(f"{url}/api/queues", TOKEN) == 200
        run.signal(signal.SIGTERM)
        assert run.finish() == 0
        assert TOKEN not in run.output


# What keeps it from starting: in this process, for nothing starts.


@pytest.fixture
def idle(folder: Path) -> Host:
    return Host(folder, log=NullLog())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.11.12.13", "example.org"])  # noqa: S104
def test_without_a_token_no_foreign_address_is_served(idle: Host, host: str) -> None:
    with pytest.raises(ValueError, match=f"{TOKEN_VARIABLE}.*--admin-token-file.*127.0.0.1"):
        admin_server(idle, Address(host, 0), None)


def test_a_token_file_opens_a_foreign_address(idle: Host, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    server = admin_server(idle, Address("0.0.0.0", 0), tmp_path / "token")  # noqa: S104
    with server:
        assert server.address.port


def invoke(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["run", *words], obj=Signals())
    return result.exit_code, result.output


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--admin", "9464"], "HOST:PORT"),
        (["--admin", "::1:9464"], "[::1]:9464"),
        (["--admin", "0.0.0.0:0"], TOKEN_VARIABLE),
        (["--admin", "127.0.0.1:0", "--admin-token-file", "/missing"], "No such file"),
        (["--admin", "127.0.0.1:0", "--admin-token-file", "/dev/null"], "one word"),
    ],
)
def test_what_is_wrong_with_the_options_is_said(
    folder: Path, options: list[str], says: str
) -> None:
    code, output = invoke(str(folder), *options)
    assert code == 2
    assert says in output
    assert "Traceback" not in output


def test_a_port_in_use_is_one_line_and_nothing_starts(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, _ = invoke(str(folder), "--admin", address, "--log-level", "error")
    assert code == 1
    assert capfd.readouterr().err == (
        f"error: admin server: cannot listen on http://{address}: Address already in use\n"
    )
