"""What a RabbitMQ and the network to it can do, and what becomes of messages then."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import gevent
import pika
import pytest
from gevent import ssl

from tests.drivers.proxy import Proxy
from tests.drivers.rabbitmq import RabbitMQ
from tests.host.apps import make_host
from wippy_lua.clock import SystemClock
from wippy_lua.errors import Kind, QueueNotFound, WippyError
from wippy_lua.log import NullLog
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.drivers.amqp.driver import AmqpDriver
from wippy_lua.queue.drivers.amqp.settings import Settings
from wippy_lua.queue.message import Delivery, Header
from wippy_lua.registry.kinds import AmqpDriverSpec, TlsSpec
from wippy_lua.testing import Inbox, QueueProbe
from wippy_lua.testing.probe import Patience, eventually, make_message

pytestmark = pytest.mark.network

PATIENCE = Patience(must=20.0, never=0.2)


def make_driver(url: str, **fields: Any) -> AmqpDriver:
    spec = AmqpDriverSpec(url=url, **{"reconnect_delay": 0.1, **fields})
    return AmqpDriver(Settings.from_spec(spec, "test:rabbitmq"), SystemClock(), NullLog())


def declare(driver: AmqpDriver, name: str | None = None, **options: object) -> QueueProbe:
    name = name or f"q{uuid4().hex}"
    driver.declare_queue(QueueConfig(f"test:{name}", "test:rabbitmq", name, options=options))
    return QueueProbe(driver, f"test:{name}", PATIENCE)


def name_of(queue: QueueProbe) -> str:
    return queue.id.removeprefix("test:")


@pytest.fixture
def driver(rabbitmq: RabbitMQ) -> Iterator[AmqpDriver]:
    driver = make_driver(rabbitmq.url)
    driver.start()
    yield driver
    driver.stop()


@pytest.fixture
def proxy(rabbitmq: RabbitMQ) -> Iterator[Proxy]:
    with Proxy(rabbitmq.port) as proxy:
        yield proxy


@pytest.fixture
def behind_proxy(proxy: Proxy) -> Iterator[AmqpDriver]:
    driver = make_driver(f"amqp://127.0.0.1:{proxy.port}", heartbeat=1.0)
    driver.start()
    yield driver
    driver.stop()


@pytest.fixture
def foreign(rabbitmq: RabbitMQ) -> Iterator[Any]:
    """A channel of another program."""
    with pika.BlockingConnection(pika.URLParameters(rabbitmq.url)) as connection:
        yield connection.channel()


class Consumer:
    """Acks all that comes and keeps the bodies."""

    def __init__(self, queue: QueueProbe) -> None:
        self.bodies: list[bytes] = []
        self._greenlet = gevent.spawn(self._run, queue.attach(credit=20))

    def _run(self, inbox: Inbox) -> None:
        while True:
            delivery = inbox.receive()
            gevent.sleep(0)
            self.bodies.append(delivery.message.body)
            delivery.ack()

    def has(self, bodies: set[bytes]) -> bool:
        return bodies <= set(self.bodies)

    def stop(self) -> None:
        self._greenlet.kill()


# Connections that break


def test_nothing_is_lost_when_connections_are_cut_again_and_again(
    behind_proxy: AmqpDriver, proxy: Proxy
) -> None:
    queue = declare(behind_proxy)
    consumer = Consumer(queue)
    bodies = [b"%d" % n for n in range(1500)]
    publishers = [
        gevent.spawn(lambda some: [queue.publish(body) for body in some], bodies[n::30])
        for n in range(30)
    ]
    for _ in range(3):
        gevent.sleep(0.1)
        proxy.cut()
    gevent.joinall(publishers, timeout=20, raise_error=True)
    assert eventually(lambda: set(consumer.bodies) == set(bodies), PATIENCE)
    consumer.stop()


class Chaos:
    """Handlers of two queues that settle in every way there is, and now and then too late."""

    def __init__(self, work: QueueProbe, dead: QueueProbe) -> None:
        self.acked: set[bytes] = set()
        self._dead = dead
        self._chance = random.Random(7)
        self._greenlets = [
            gevent.spawn(self._run, queue.attach(credit))
            for queue in (work, dead)
            for credit in (1, 30)
        ]

    def stop(self) -> None:
        gevent.killall(self._greenlets)

    def _run(self, inbox: Inbox) -> None:
        while True:
            delivery = inbox.receive()
            gevent.sleep(self._chance.choice([0, 0.001]))
            self._settle(delivery)

    def _settle(self, delivery: Delivery) -> None:
        fate = self._chance.random()
        if fate < 0.6:
            delivery.ack()
            self.acked.add(delivery.message.body)
        elif fate < 0.9:
            delay = self._chance.choice([0.0, 0.0, 0.05, 0.2])
            delivery.release(delay, charged=fate < 0.75)
        else:
            try:
                delivery.move(self._dead.id, delivery.message)
            except WippyError:
                delivery.release(0.1, charged=True)


def test_nothing_is_lost_or_left_whatever_handlers_and_the_network_do(proxy: Proxy) -> None:
    name = f"q{uuid4().hex}"
    url = f"amqp://127.0.0.1:{proxy.port}"
    hosts = [make_driver(url, heartbeat=1.0, reconnect_max_delay=0.2) for _ in range(2)]
    for host in hosts:
        host.start()
    works = [declare(host, name) for host in hosts]
    deads = [declare(host, f"{name}.dead") for host in hosts]
    handlers = [Chaos(*pair) for pair in zip(works, deads, strict=True)]
    bodies = [b"%d" % n for n in range(1200)]
    publishers = [
        gevent.spawn(lambda n: [works[n % 2].publish(body) for body in bodies[n::20]], n)
        for n in range(20)
    ]
    for _ in range(4):
        gevent.sleep(0.3)
        proxy.cut()
    proxy.freeze()
    gevent.sleep(0.5)
    proxy.thaw()
    gevent.joinall(publishers, timeout=20, raise_error=True)
    assert eventually(lambda: set(bodies) <= handlers[0].acked | handlers[1].acked, PATIENCE)
    # What was acked while its channel was gone has come again, and ends in the same way.
    assert eventually(
        lambda: not any(queue.info().message_count for queue in works + deads), PATIENCE
    )
    for handler in handlers:
        handler.stop()
    for host in hosts:
        host.stop()


def test_a_cut_is_noticed_at_once_and_reading_goes_on(
    behind_proxy: AmqpDriver, proxy: Proxy
) -> None:
    queue = declare(behind_proxy)
    inbox = queue.attach()
    proxy.cut()
    begin = time.monotonic()
    queue.publish(b"after")
    assert inbox.receive().message.body == b"after"
    assert time.monotonic() - begin < 1.5


def test_a_connection_that_is_half_open_is_given_up(behind_proxy: AmqpDriver, proxy: Proxy) -> None:
    queue = declare(behind_proxy)
    inbox = queue.attach()
    proxy.freeze()
    begin = time.monotonic()
    with pytest.raises(WippyError) as caught:
        queue.publish(b"m", timeout=0.3)
    assert caught.value.kind is Kind.TIMEOUT
    assert behind_proxy._link.connection.ended.wait(10)
    assert time.monotonic() - begin < 3 * 1 + 2
    proxy.thaw()
    queue.publish(b"after")
    bodies = {inbox.receive().message.body}
    if b"after" not in bodies:  # What was not confirmed in time may have been stored.
        bodies.add(inbox.receive().message.body)
    assert b"after" in bodies


def test_a_publisher_without_a_connection_fails_in_time(
    behind_proxy: AmqpDriver, proxy: Proxy
) -> None:
    queue = declare(behind_proxy)
    proxy.refuse(True)
    proxy.cut()
    begin = time.monotonic()
    with pytest.raises(WippyError) as caught:
        queue.publish(b"m", timeout=0.5)
    assert caught.value.kind is Kind.UNAVAILABLE
    assert time.monotonic() - begin < 1.0
    waiting = gevent.spawn(queue.publish, b"later")
    gevent.sleep(0.2)
    proxy.refuse(False)
    waiting.get(timeout=10)
    assert queue.attach().receive().message.body == b"later"


def test_what_was_in_flight_on_a_lost_connection_comes_back_with_its_attempt_counted(
    behind_proxy: AmqpDriver, proxy: Proxy
) -> None:
    queue = declare(behind_proxy)
    queue.publish(b"m")
    inbox = queue.attach()
    late = inbox.receive()
    proxy.cut()
    again = inbox.receive()
    late.ack()  # Its tag died with its channel, and means another delivery now.
    late.release(0.0, charged=True)
    assert again.attempt == 2
    assert queue.shows(ready=0, in_flight=1)
    again.release(0.0, charged=True)
    assert inbox.receive().attempt == 3


class Stopping:
    """Acks what comes a moment later; once it is stopping, what comes is kept instead."""

    def __init__(self) -> None:
        self.is_stopping = False
        self.kept: list[Delivery] = []
        self.acking: list[gevent.Greenlet[[Delivery], None]] = []
        self.acked = 0

    def put(self, delivery: Delivery) -> None:
        if self.is_stopping:
            self.kept.append(delivery)
        else:
            self.acking.append(gevent.spawn(self._ack, delivery))

    def _ack(self, delivery: Delivery) -> None:
        gevent.sleep(0.001)
        self.acked += 1
        delivery.ack()


def test_what_is_on_its_way_to_a_consumer_that_ends_spends_no_attempt(driver: AmqpDriver) -> None:
    """The broker takes it back when the consumer is cancelled, and a quorum queue counts that."""
    queue, count = declare(driver), 1000
    for _ in range(5):
        queue.publish(*[b"m"] * count)
        consumer = Stopping()
        attachment = driver.attach(queue.id, 24, consumer)
        while consumer.acked < count // 4:
            gevent.sleep(0.001)
        consumer.is_stopping = True
        attachment.detach()
        for delivery in consumer.kept:
            delivery.release(0.0, charged=False)
        gevent.joinall(consumer.acking, raise_error=True)
        assert queue.shows(ready=count - consumer.acked)
        taken = driver.take(queue.id, count)
        assert {delivery.attempt for delivery in taken} == {1}
        for delivery in taken:
            delivery.ack()
        assert queue.shows(ready=0)


def test_a_stop_ends_publishers_that_wait(behind_proxy: AmqpDriver, proxy: Proxy) -> None:
    queue = declare(behind_proxy)
    proxy.refuse(True)
    proxy.cut()
    waiting = gevent.spawn(queue.publish, b"m", timeout=60.0)
    gevent.sleep(0.1)
    begin = time.monotonic()
    behind_proxy.stop()
    with pytest.raises(WippyError) as caught:
        waiting.get(timeout=5)
    assert caught.value.kind is Kind.UNAVAILABLE
    assert time.monotonic() - begin < 2.0


def test_an_encrypted_connection_is_verified(rabbitmq: RabbitMQ, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=broker", "-addext", "subjectAltName=DNS:broker"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            *files,
            *subject,
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Proxy(rabbitmq.port, tls=context) as proxy:
        url = f"amqps://127.0.0.1:{proxy.port}"
        trusting = make_driver(url, tls=TlsSpec(ca_file=str(certificate), server_name="broker"))
        trusting.start()
        queue = declare(trusting)
        queue.publish(b"x" * 300_000)
        assert len(queue.attach().receive().message.body) == 300_000
        trusting.stop()
        with pytest.raises(WippyError, match=r"(?i)certificate") as caught:
            make_driver(url).start()
        assert caught.value.kind is Kind.UNAVAILABLE


# What the broker says


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("amqp://guest:wrong@127.0.0.1:{port}/", Kind.PERMISSION_DENIED),
        ("amqp://127.0.0.1:{port}/nowhere", Kind.PERMISSION_DENIED),
        ("amqp://127.0.0.1:1/", Kind.UNAVAILABLE),
    ],
)
def test_a_broker_that_lets_nobody_in_fails_the_start(
    rabbitmq: RabbitMQ, url: str, kind: Kind
) -> None:
    with pytest.raises(WippyError) as caught:
        make_driver(url.format(port=rabbitmq.port)).start()
    assert caught.value.kind is kind
    assert "wrong" not in caught.value.message


@pytest.mark.parametrize("url", ["http://h/", "amqp://", "amqp://h:port/"])
def test_a_url_that_is_none_is_invalid(url: str) -> None:
    with pytest.raises(WippyError, match="url") as caught:
        make_driver(url)
    assert caught.value.kind is Kind.INVALID


def test_a_queue_of_other_properties_is_a_conflict(driver: AmqpDriver, foreign: Any) -> None:
    name = f"q{uuid4().hex}"
    foreign.queue_declare(name, durable=True, arguments={"x-max-length": 5})
    with pytest.raises(WippyError, match=r"quorum.*x-max-length.*declare: false") as caught:
        declare(driver, name)
    assert caught.value.kind is Kind.CONFLICT
    driver.declare_queue(QueueConfig(f"test:{name}", "d", name, declare=False))
    QueueProbe(driver, f"test:{name}", PATIENCE).publish(b"m")


def test_a_queue_that_was_deleted_is_declared_again(driver: AmqpDriver, foreign: Any) -> None:
    queue = declare(driver)
    inbox = queue.attach()
    foreign.queue_delete(name_of(queue))
    queue.publish(b"m")
    assert inbox.receive().message.body == b"m"


def test_a_consumer_that_the_broker_has_cancelled_is_not_connected_until_it_asks_again(
    driver: AmqpDriver, foreign: Any
) -> None:
    queue = declare(driver)
    queue.attach()
    [attachment] = queue.attachments
    foreign.queue_delete(name_of(queue))
    assert eventually(lambda: not attachment.connected, PATIENCE)
    assert driver.connected  # it is the queue that was lost
    assert eventually(lambda: attachment.connected, PATIENCE)


def test_a_dead_letter_for_a_queue_that_is_gone_keeps_the_message(
    driver: AmqpDriver, foreign: Any
) -> None:
    name = f"q{uuid4().hex}"
    foreign.queue_declare(name, durable=True)
    driver.declare_queue(QueueConfig(f"test:{name}", "d", name, declare=False))
    queue = declare(driver)
    queue.publish(b"m")
    inbox = queue.attach()
    delivery = inbox.receive()
    foreign.queue_delete(name)
    with pytest.raises(QueueNotFound):
        delivery.move(f"test:{name}", delivery.message)
    delivery.release(0.0, charged=True)
    assert inbox.receive().attempt == 2


def test_a_queue_that_refuses_is_tried_until_the_timeout(driver: AmqpDriver, foreign: Any) -> None:
    name = f"q{uuid4().hex}"
    foreign.queue_declare(
        name, durable=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
    )
    driver.declare_queue(QueueConfig(f"test:{name}", "d", name, declare=False))
    queue = QueueProbe(driver, f"test:{name}", PATIENCE)
    queue.publish(b"a")
    with pytest.raises(WippyError, match="full") as caught:
        queue.publish(b"b", timeout=0.3)
    assert caught.value.kind is Kind.UNAVAILABLE
    inbox = queue.attach(credit=1)
    first = inbox.receive()
    queue.publish(b"b")
    first.release(0.0, charged=True)  # The copy is refused, so the message goes back in place.
    assert inbox.drain(2) == [b"a", b"b"]


def test_a_broker_short_of_memory_stops_publishers_and_not_consumers(
    driver: AmqpDriver, rabbitmq: RabbitMQ
) -> None:
    queue = declare(driver)
    queue.publish(b"a")
    rabbitmq.control("set_vm_memory_high_watermark", "absolute", "1000")
    try:
        with pytest.raises(WippyError) as caught:
            queue.publish(b"b", timeout=0.5)
        assert caught.value.kind in (Kind.TIMEOUT, Kind.UNAVAILABLE)
        with pytest.raises(WippyError, match="lets nobody publish: low on memory"):
            queue.publish(b"c", timeout=0.5)
        assert queue.attach().drain(1) == [b"a"]
    finally:
        rabbitmq.control("set_vm_memory_high_watermark", "0.4")
    queue.publish(b"d")


def test_publishing_nothing_returns_at_once(driver: AmqpDriver) -> None:
    queue = declare(driver)
    with gevent.Timeout(1.0):
        assert queue.publish() == []


def test_channels_of_detached_consumers_are_closed(driver: AmqpDriver) -> None:
    queue = declare(driver)
    for _ in range(20):
        queue.publish(b"m")
        delivery = queue.attach().receive()
        queue.detach()
        delivery.ack()
    assert eventually(lambda: len(driver._link.connection._channels) <= 2, PATIENCE)
    assert queue.shows(ready=0)


# Other programs


def test_a_message_of_another_program_arrives_and_is_copied_true(
    driver: AmqpDriver, foreign: Any
) -> None:
    queue = declare(driver)
    properties = pika.BasicProperties(
        content_type="application/json",
        content_encoding="gzip",
        correlation_id="c",
        type="order",
        headers={"n": 5, "yes": False, "s": "ü", "CC": [], "nested": {"a": [1]}, "none": None},
    )
    foreign.basic_publish("", name_of(queue), b'{"a":1}', properties)
    inbox = queue.attach()
    first = inbox.receive()
    first.release(0.1, charged=True)
    second = inbox.receive()
    wanted: dict[str, Header] = {"n": 5, "yes": False, "s": "ü", "correlation_id": "c"}
    wanted |= {"message_type": "order", "encoding": "gzip", "content_type": "application/json"}
    for delivery in (first, second):
        assert delivery.message.body == b'{"a":1}'
        assert delivery.message.content_type == "application/json"
        assert delivery.message.headers == wanted
    assert (second.attempt, second.message.id) == (2, first.message.id)
    second.release(0.0, charged=False)
    assert inbox.receive().attempt == 2
    driver.stop()  # gives the message back
    _, _, body = foreign.basic_get(name_of(queue))
    assert body == b'{"a":1}'


def test_another_program_finds_the_properties_that_amqp_has(
    driver: AmqpDriver, foreign: Any
) -> None:
    queue = declare(driver)
    headers: dict[str, Header] = {"priority": 4, "correlation_id": "c", "reply_to": "r", "k": "v"}
    [message] = queue.publish(b"m", headers=headers)
    _, found, body = foreign.basic_get(name_of(queue), auto_ack=True)
    assert (body, found.message_id, found.delivery_mode) == (b"m", message.id, 2)
    assert (found.priority, found.correlation_id, found.reply_to) == (4, "c", "r")
    assert (found.app_id, found.timestamp, found.headers["k"]) == (
        "wippy-lua/1",
        1_700_000_000,
        "v",
    )


@pytest.mark.parametrize(
    "headers",
    [{"CC": "a"}, {"BCC": "b"}, {"reply_to": "amq.rabbitmq.reply-to"}, {"correlation_id": 7}],
    ids=["cc", "bcc", "direct reply", "number"],
)
def test_headers_that_the_broker_would_take_for_its_own_arrive(
    driver: AmqpDriver, headers: dict[str, Header]
) -> None:
    queue = declare(driver)
    queue.publish(b"m", headers=headers)
    inbox = queue.attach()
    first = inbox.receive()
    assert first.message.headers == headers
    first.release(0.0, charged=True)
    assert inbox.receive().message.headers == headers


def test_a_message_over_the_brokers_limit_fails_alone(rabbitmq: RabbitMQ) -> None:
    rabbitmq.control("eval", "application:set_env(rabbit, max_message_size, 1000).")
    driver = make_driver(rabbitmq.url)
    driver.start()
    queue = declare(driver)
    try:
        large = gevent.spawn(queue.publish, b"x" * 2000)
        small = gevent.spawn(queue.publish, b"small")
        small.get(timeout=10)
        with pytest.raises(WippyError, match="larger than") as caught:
            large.get(timeout=10)
        assert caught.value.retryable is False
    finally:
        rabbitmq.control("eval", "application:set_env(rabbit, max_message_size, 134217728).")
        driver.stop()


# A whole app


RETRYING = """
- {{name: rabbitmq, kind: queue.driver.amqp, url: "{url}"}}
- name: work
  kind: queue.queue
  driver: rabbitmq
  queue_name: {name}
  dead_letter: {{queue: dead, max_attempts: 3}}
- {{name: dead, kind: queue.queue, driver: rabbitmq, queue_name: {name}.dead}}
- name: consumer
  kind: queue.consumer
  queue: work
  func: handler
  retry: {{initial_delay: 50ms}}
  lifecycle: {{auto_start: true}}
- name: handler
  kind: function.lua
  source: file://handler.lua
  modules: [queue]
"""


def test_a_failing_handler_retries_with_delays_and_then_dead_letters(
    driver: AmqpDriver, rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    name = f"q{uuid4().hex}"
    handler = """
    local queue = require("queue")
    return function(body)
      error("attempt " .. queue.message():attempt() .. " of " .. body.id)
    end
    """
    host = make_host(tmp_path, RETRYING.format(url=rabbitmq.url, name=name), handler=handler)
    with host:
        begin = time.monotonic()
        host.publish("app:work", {"id": 7}, {"ratio": 0.5})
        dead = declare(driver, f"{name}.dead")
        delivery = dead.attach().receive()
        assert time.monotonic() - begin > 0.2  # Two backoffs, each rounded up to a step.
        assert not host.info("app:work").message_count
    headers = delivery.message.headers
    assert delivery.message.body == b'{"id":7}'
    assert (headers["ratio"], headers["x_attempts"], delivery.attempt) == (0.5, 3, 1)
    assert "attempt 3 of 7" in str(headers["x_error"])
    assert headers["x_original_queue"] == "app:work"


# Processes that end


HOST = """
import sys
from pathlib import Path
from wippy_lua import Host
with Host(Path(sys.argv[1])) as host:
    print("ready", flush=True)
    host.serve_forever()
"""

APP = """\
version: "1.0"
namespace: test
entries:
  - {{name: rabbitmq, kind: queue.driver.amqp, url: "{url}"}}
  - {{name: work, kind: queue.queue, driver: rabbitmq, queue_name: {queue}}}
  - name: consumer
    kind: queue.consumer
    queue: work
    func: handler
    concurrency: 2
    lifecycle: {{auto_start: true}}
  - name: handler
    kind: function.lua
    source: "return function() while true do end end"
"""


def test_a_host_that_is_killed_loses_nothing_and_spends_attempts(
    driver: AmqpDriver, rabbitmq: RabbitMQ, tmp_path: Path
) -> None:
    """The host runs in a process that nobody has patched: the driver does not need it."""
    queue = declare(driver)
    bodies = [b"%d" % n for n in range(5)]
    queue.publish(*bodies)
    (tmp_path / "_index.yaml").write_text(APP.format(url=rabbitmq.url, queue=name_of(queue)))
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", HOST, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(root / "host")},
        stdout=subprocess.PIPE,
    )
    try:
        assert queue.shows(ready=0)
        assert driver.info(queue.id).consumer_count == 1
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=10)
    again = queue.attach().receive_many(5)
    assert sorted(delivery.message.body for delivery in again) == bodies
    assert {delivery.attempt for delivery in again} == {2}


def test_two_hosts_share_a_queue_and_its_delays(driver: AmqpDriver, rabbitmq: RabbitMQ) -> None:
    other = make_driver(rabbitmq.url)
    other.start()
    mine = declare(driver)
    theirs = declare(other, name_of(mine))
    theirs.publish(b"delayed", delay=60.0)
    mine.publish(*[b"%d" % n for n in range(10)])
    assert mine.shows(ready=10, delayed=1)
    inboxes = [mine.attach(credit=5), theirs.attach(credit=5)]
    bodies = [delivery.message.body for inbox in inboxes for delivery in inbox.receive_many(5)]
    assert sorted(bodies) == [b"%d" % n for n in range(10)]
    assert driver.purge(mine.id) == 1
    other.stop()


def test_a_broker_that_is_killed_comes_back_with_all_it_has_confirmed(rabbitmq: RabbitMQ) -> None:
    driver = make_driver(rabbitmq.url)
    driver.start()
    queues = [declare(driver), declare(driver, queue_type="classic")]
    # A quorum queue that is younger than this comes back without a leader on 3.10.
    gevent.sleep(12)
    published = [make_message(b"%d" % n) for n in range(300)]
    for queue in queues:
        driver.publish(queue.id, published)
    consumers = [Consumer(queue) for queue in queues[1:]]
    rabbitmq.kill()
    waiting = gevent.spawn(driver.publish, queues[0].id, [make_message(b"300")], timeout=40.0)
    rabbitmq.start()
    waiting.get(timeout=40)
    consumers.append(Consumer(queues[0]))
    wanted = {message.body for message in published}
    for consumer in consumers:
        assert eventually(partial(consumer.has, wanted), PATIENCE)
        consumer.stop()
    driver.stop()
