"""Flask in gunicorn's gevent workers: a host in each, and nothing lost when they come and go."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.drivers.redis.server import RedisServer
from tests.examples.running import EXAMPLES, logged_process, wait_until

FOLDER = EXAMPLES / "flask_gunicorn"
WORKERS = 2
CLIENTS = 4
GUNICORN = (
    *(sys.executable, "-m", "gunicorn", "-k", "gevent", "-w", str(WORKERS)),
    # The last option belongs to this test: no file in the home of who runs it.
    *("-c", "gunicorn.conf.py", "-b", "127.0.0.1:0", "--no-control-socket", "app:app"),
)

pytestmark = pytest.mark.network


@dataclass(frozen=True)
class Site:
    """A running gunicorn and what it has logged."""

    process: subprocess.Popen[bytes]
    log: Path
    outbox: Path

    @property
    def url(self) -> str:
        found = re.findall(r"Listening at: (\S+)", self.log.read_text())
        return str(found[-1])

    def sent(self) -> Counter[str]:
        """Returns how often Lua says that it sent the welcome of each message."""
        lines = self.log.read_text().splitlines()
        logged = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return Counter(line["message_id"] for line in logged if line["msg"] == "welcome sent")

    def said(self, text: str) -> int:
        return self.log.read_text().count(text)

    def mails(self) -> list[str]:
        return [mail.read_text() for mail in self.outbox.glob("*.eml")]

    def sign_up(self, signup: object) -> tuple[int, dict[str, str]]:
        """Posts a sign-up and returns the status and the answer."""
        body = signup if isinstance(signup, bytes) else json.dumps(signup).encode()
        headers = {"Content-Type": "application/json"}
        request = Request(f"{self.url}/signups", body, headers)  # noqa: S310 - our own server
        try:
            with urlopen(request, timeout=20) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except HTTPError as error:
            with error:
                return error.code, {}

    def stop(self) -> None:
        """Ends gunicorn with SIGTERM and asserts a clean exit."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=20) == 0, self.log.read_text()


@contextmanager
def open_site(folder: Path, env: Mapping[str, str]) -> Iterator[Site]:
    log, outbox = folder / "log", folder / "outbox"
    env = {**env, "OUTBOX": str(outbox)}
    already = log.read_text().count("consumer started") if log.exists() else 0
    with logged_process(log, *GUNICORN, env=env, cwd=FOLDER) as process:
        site = Site(process, log, outbox)
        wait_until(lambda: site.said("consumer started") == already + WORKERS)
        yield site


@dataclass
class Load:
    """Clients that sign up, one after the other, until they are told to stop."""

    site: Site
    accepted: list[str] = field(default_factory=list)
    refused: list[object] = field(default_factory=list)
    over: bool = False

    def run(self, client: int) -> None:
        number = 0
        while not self.over:
            number += 1
            signup = {"name": f"User {number}", "email": f"{number}@{client}.example"}
            try:
                status, answer = self.site.sign_up(signup)
            except (OSError, HTTPException) as error:
                self.refused.append(error)
                continue
            if status == 202:
                self.accepted.append(answer["id"])
            else:
                self.refused.append(status)


@pytest.fixture
def env(redis_server: RedisServer) -> Mapping[str, str]:
    """The environment of a site; its database is emptied, since the server serves all tests."""
    with redis_server.client() as client:
        client.flushdb()
    return {"REDIS_URL": redis_server.url}


def test_reload_and_stop_under_load_lose_nothing_and_handle_nothing_twice(
    tmp_path: Path, env: Mapping[str, str]
) -> None:
    with open_site(tmp_path, env) as site, ThreadPoolExecutor(CLIENTS) as clients:
        load = Load(site)
        running = [clients.submit(load.run, client) for client in range(CLIENTS)]
        wait_until(lambda: len(load.accepted) > 50)
        site.process.send_signal(signal.SIGHUP)
        wait_until(lambda: site.said("Worker exiting") == WORKERS)
        wait_until(lambda: site.said("consumer started") == 2 * WORKERS)
        before = len(load.accepted)
        wait_until(lambda: len(load.accepted) > before + 50)
        assert load.refused == []
        site.process.send_signal(signal.SIGTERM)  # the clients go on until nobody answers
        wait_until(lambda: load.refused)
        load.over = True
        for client in running:
            client.result()
        assert site.process.wait(timeout=20) == 0, site.log.read_text()
    with open_site(tmp_path, env) as site:  # for what the stop gave back to Redis
        wait_until(lambda: site.sent().keys() >= set(load.accepted))
        site.stop()
    sent = site.sent()
    assert set(sent.values()) == {1}
    assert {mail.stem for mail in site.outbox.glob("*.eml")} == sent.keys()
    assert site.said("Traceback") == 0


def test_sign_ups_are_answered_by_what_became_of_them(
    tmp_path: Path, env: Mapping[str, str], redis_server: RedisServer
) -> None:
    with open_site(tmp_path, env) as site:
        status, answer = site.sign_up({"name": "Ann", "email": "ann@example.com"})
        assert status == 202
        mail = site.outbox / f"{answer['id']}.eml"
        wait_until(mail.exists)
        assert "To: ann@example.com\nSubject: Welcome, Ann\n" in mail.read_text()
        with urlopen(f"{site.url}/queue", timeout=5) as page:  # noqa: S310
            assert json.load(page).keys() == {"ready", "in_flight"}
        assert site.sign_up(b"{")[0] == 400
        assert site.sign_up({"name": "Ann"})[0] == 400
        assert site.sign_up({"name": "Ann", "email": "x" * 20_000})[0] == 413
        redis_server.stop()
        assert site.sign_up({"name": "Bob", "email": "bob@example.com"})[0] == 503
        redis_server.start()
        wait_until(lambda: site.sign_up({"name": "Eve", "email": "eve@example.com"})[0] == 202)
        wait_until(lambda: any("To: eve@" in text for text in site.mails()))
        site.stop()
    # What was answered with 503 may have been stored all the same, only never half.
    assert {text.splitlines()[2] for text in site.mails()} <= {
        "To: ann@example.com",
        "To: bob@example.com",
        "To: eve@example.com",
    }
