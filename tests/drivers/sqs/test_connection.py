"""What the driver tells of its way to SQS while the network breaks."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from tests.drivers.proxy import Proxy
from tests.drivers.sqs.declaring import PATIENCE, Start, declare
from tests.drivers.sqs.server import Server
from wippy_lua.errors import QueueNotFound, WippyError
from wippy_lua.testing.probe import eventually

pytestmark = pytest.mark.network


def test_a_cut_connection_is_known_until_calls_succeed_again(start: Start, server: Server) -> None:
    with Proxy(server.port) as proxy:
        driver = start(endpoint=f"http://127.0.0.1:{proxy.port}")
        queue = declare(driver)
        queue.attach()
        [attachment] = queue.attachments
        assert driver.connected
        proxy.refuse(True)
        proxy.cut()
        assert eventually(lambda: not (driver.connected or attachment.connected), PATIENCE)
        with pytest.raises(WippyError):
            queue.info()
        assert not driver.connected
        proxy.refuse(False)
        assert eventually(lambda: driver.connected and attachment.connected, PATIENCE)
        assert driver.reconnects >= 1


def test_an_error_about_a_queue_says_nothing_of_the_connection(start: Start) -> None:
    driver = start()
    queue = declare(driver)
    with pytest.raises(QueueNotFound):
        driver.info(f"{queue.id}-not-there")
    with pytest.raises(WippyError):
        driver._api.attributes("http://127.0.0.1/0/not-there", ["All"])
    assert driver.connected


def test_a_service_that_does_not_let_us_in_is_no_connection(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise ClientError({"Error": {"Code": "ExpiredToken"}}, "GetQueueAttributes")

    driver = start()
    queue = declare(driver)
    monkeypatch.setattr(driver._api._client, "get_queue_attributes", refuse)
    with pytest.raises(WippyError):
        queue.info()
    assert not driver.connected
