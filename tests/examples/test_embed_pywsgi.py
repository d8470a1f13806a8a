"""The web server that embeds a host."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.examples.running import process, wait_until

SERVER = (sys.executable, "embed_pywsgi/server.py", "--port", "0")


@dataclass(frozen=True)
class Shop:
    """A running server; `url` has no slash at its end."""

    process: subprocess.Popen[str]
    url: str

    def order(self, body: bytes) -> HTTPResponse | HTTPError:
        """Posts an order and returns the answer, whatever its status."""
        request = Request(f"{self.url}/orders", body, method="POST")  # noqa: S310 - our own server
        try:
            answer: HTTPResponse = urlopen(request, timeout=5)  # noqa: S310
        except HTTPError as error:
            return error
        return answer

    def count(self, name: str) -> int:
        """Reads one count from the page."""
        with urlopen(self.url, timeout=5) as page:  # noqa: S310
            found = re.search(rf'id="{name}">(\d+)<', page.read().decode())
        assert found is not None
        return int(found[1])

    def stop(self) -> str:
        """Ends the server with SIGTERM; returns its log and asserts a clean exit."""
        self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=15)
        assert self.process.returncode == 0, log
        return log


@contextmanager
def open_shop(*arguments: str) -> Iterator[Shop]:
    with process(*SERVER, *arguments) as server:
        assert server.stdout is not None
        yield Shop(server, server.stdout.readline().removeprefix("listening on ").strip())


def test_orders_are_accepted_handled_and_counted_until_sigterm() -> None:
    with open_shop() as shop:
        ids = set()
        for number in range(20):
            with shop.order(json.dumps({"item": f"tea {number}"}).encode()) as answer:
                assert answer.status == 202
                ids.add(json.load(answer)["id"])
        assert len(ids) == 20
        wait_until(lambda: shop.count("handled") == 20)
        log = shop.stop()
    assert log.count("order handled") == 20
    assert "messages left" not in log


def test_what_is_no_order_is_refused_with_the_reason() -> None:
    with open_shop() as shop:
        for body in (b"{", b"[]", b'{"item": 1}', b"\xff", b""):
            with shop.order(body) as answer:
                assert answer.status == 400
                assert json.load(answer)["error"]
        with shop.order(b" " * (64 * 1024 + 1)) as answer:
            assert answer.status == 413
        assert shop.count("ready") == 0
        shop.stop()


def test_full_queue_is_answered_with_503_and_retry_after() -> None:
    closed = "shop:orders_consumer.lifecycle.auto_start=false"
    with open_shop("--set", closed, "--set", "shop:orders.options.max_length=2") as shop:
        answers = [shop.order(b'{"item": "tea"}') for _ in range(3)]
        for answer in answers:
            answer.close()
        assert [answer.status for answer in answers] == [202, 202, 503]
        assert answers[2].headers["Retry-After"] == "1"
        assert shop.count("ready") == 2
        log = shop.stop()
    assert "messages left in queue" in log
