"""A webhook receiver: what is signed is stored, what is stored is handled once."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.examples.running import logged_process, wait_until

pytestmark = pytest.mark.once  # its apps are processes of their own

SECRET, OLD_SECRET = "s3cret", "0ld"
SERVER = (sys.executable, "webhooks/server.py", "--port", "0")
PAYMENT = {"id": "evt_1", "type": "payment.received", "account": "ann", "cents": 1200}
LARGEST = 64 * 1024


def sign(secret: str, text: bytes) -> str:
    """Returns the HMAC as another program computes it, as the README does."""
    signed = subprocess.run(
        ["openssl", "dgst", "-sha256", "-r", "-hmac", secret],
        input=text,
        capture_output=True,
        check=True,
    )
    return signed.stdout.decode().split()[0]


@dataclass(frozen=True)
class Receiver:
    """A running server and what it has logged."""

    process: subprocess.Popen[bytes]
    log: Path
    url: str

    def post(self, event: object, *, secret: str = SECRET, age: int = 0, **headers: str) -> int:
        """Sends an event as its provider does and returns the status."""
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        sent = int(time.time()) - age
        digest = sign(secret, f"{sent}.".encode() + body)
        headers = {"Webhook-Signature": f"t={sent},v1={digest}", **headers}
        request = Request(f"{self.url}/events", body, headers)  # noqa: S310 - our own server
        try:
            with urlopen(request, timeout=15) as answer:  # noqa: S310
                return int(answer.status)
        except HTTPError as error:
            refusal = error
        with refusal:
            assert json.load(refusal)["error"]
            assert (refusal.headers["Retry-After"] is not None) == (refusal.code == 503)
            return refusal.code

    def balance(self, account: str) -> int:
        with urlopen(f"{self.url}/accounts/{account}", timeout=5) as answer:  # noqa: S310
            return int(json.load(answer)["balance"])

    def said(self, text: str) -> int:
        return self.log.read_text().count(text)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=15) == 0, self.log.read_text()


@contextmanager
def open_receiver(folder: Path, *arguments: str) -> Iterator[Receiver]:
    log = folder / "log"
    log.write_bytes(b"")
    env = {"WEBHOOKS_DATA": str(folder), "WEBHOOK_SECRETS": f"{SECRET},{OLD_SECRET}"}
    with logged_process(log, *SERVER, *arguments, env=env) as process:
        wait_until(lambda: "listening on" in log.read_text())
        url = log.read_text().partition("listening on ")[2].split()[0]
        yield Receiver(process, log, url)


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with open_receiver(tmp_path_factory.mktemp("webhooks")) as receiver:
        yield receiver
        receiver.stop()


def test_twenty_duplicates_at_once_are_all_accepted_and_booked_once(receiver: Receiver) -> None:
    event = {**PAYMENT, "id": "evt_dup", "account": "dup"}
    with ThreadPoolExecutor(20) as senders:
        assert set(senders.map(lambda _: receiver.post(event), range(20))) == {202}
    wait_until(lambda: receiver.said("event_id=evt_dup") == 20)
    assert receiver.balance("dup") == 1200


def test_event_that_is_delivered_again_is_known(receiver: Receiver) -> None:
    event = {**PAYMENT, "id": "evt_again", "account": "again"}
    assert receiver.post(event) == 202
    wait_until(lambda: receiver.balance("again") == 1200)
    assert receiver.post(event) == 202
    wait_until(lambda: receiver.said("event_id=evt_again") == 2)
    assert receiver.balance("again") == 1200
    assert receiver.post({**event, "id": "evt_back", "type": "payment.refunded"}) == 202
    wait_until(lambda: receiver.balance("again") == 0)


@pytest.mark.parametrize(
    ("event", "options", "status"),
    [
        (PAYMENT, {"secret": "guessed"}, 401),
        (PAYMENT, {"age": 301}, 401),
        (PAYMENT, {"age": -310}, 401),
        (PAYMENT, {"Webhook-Signature": "t=1,v1=" + "0" * 64}, 401),
        (PAYMENT, {"Webhook-Signature": ""}, 401),
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b"\xff", {}, 400),
        (b"[" * LARGEST, {}, 400),
        ({"type": "payment.received"}, {}, 400),
        ({**PAYMENT, "id": ""}, {}, 400),
        (b" " * (LARGEST + 1), {}, 413),
    ],
)
def test_what_cannot_be_trusted_or_read_is_refused(
    receiver: Receiver, event: object, options: dict[str, Any], status: int
) -> None:
    assert receiver.post(event, **options) == status


def test_old_secret_is_good_until_it_is_taken_away(receiver: Receiver) -> None:
    assert receiver.post({**PAYMENT, "account": "old"}, secret=OLD_SECRET) == 202
    wait_until(lambda: receiver.balance("old") == 1200)


def test_event_survives_a_crash_and_a_repeat_after_it_is_known(tmp_path: Path) -> None:
    idle = ("--set", "webhooks:event_consumer.lifecycle.auto_start=false")
    with open_receiver(tmp_path, *idle) as receiver:
        assert receiver.post(PAYMENT) == 202
        receiver.process.kill()
    with open_receiver(tmp_path) as receiver:
        wait_until(lambda: receiver.said("event booked") == 1)
        receiver.process.kill()
    with open_receiver(tmp_path) as receiver:
        assert receiver.post(PAYMENT) == 202
        wait_until(lambda: receiver.said("event known") >= 1)
        assert receiver.balance("ann") == 1200
        receiver.stop()


def test_queue_without_room_is_answered_with_503_and_retry_after(tmp_path: Path) -> None:
    full = (
        *("--set", "webhooks:event_consumer.lifecycle.auto_start=false"),
        *("--set", "webhooks:events.options.max_length=1"),
    )
    with open_receiver(tmp_path, *full) as receiver:
        assert receiver.post(PAYMENT) == 202
        assert receiver.post({**PAYMENT, "id": "evt_2"}) == 503
        receiver.stop()


def test_server_without_a_secret_says_what_it_needs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with logged_process(log, *SERVER, env={"WEBHOOK_SECRETS": ""}) as process:
        assert process.wait(timeout=15) == 1
    assert "WEBHOOK_SECRETS has to hold" in log.read_text()
