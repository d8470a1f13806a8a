"""Brokers through random lives in real time: nothing lost, nothing invented, attempts grow.

What the model of `model.py` knows to the step, a broker does when it does: so a message is judged
when it arrives, and at the end of a life all that was not acked must arrive. The order is for the
conformance suite: a broker may bring back what was lost at any place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from time import monotonic

import gevent
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
)

from tests.drivers.proxy import Proxy
from tests.drivers.rabbitmq import RabbitMQ
from tests.drivers.redis.server import RedisServer
from tests.drivers.sqs.declaring import REGION
from tests.drivers.sqs.server import running
from tests.drivers.test_amqp import make_driver as make_amqp
from tests.failures.crash import IS_LONG
from tests.failures.figures import Figures
from tests.failures.lives import Played, play
from wippy_lua.clock import SystemClock
from wippy_lua.log import NullLog
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.driver import Attachment, Driver
from wippy_lua.queue.drivers.redis.driver import RedisDriver
from wippy_lua.queue.drivers.sqs.api import Settings as SqsSettings
from wippy_lua.queue.drivers.sqs.driver import SqsDriver
from wippy_lua.queue.message import BINARY, Delivery, Message

pytestmark = [pytest.mark.network, pytest.mark.timeout(600)]

NAMES = ("a", "b")
SERIALS = count(1)  #: of queues: each life has its own
DRAIN_SECONDS = 30.0
STOP_SECONDS = 30.0
#: Seconds on Redis: a machine that stands still for so long makes duplicates, as it must.
LEASE = 2.5

queues = st.sampled_from(NAMES)


@dataclass(frozen=True)
class Place:
    """A broker: its port, drivers of it that go through another one, and its smallest unit."""

    port: int
    make: Callable[[int], Driver]
    unit: float


@dataclass
class Fate:
    """What must hold for one message: where it is, and the least attempt of its next delivery."""

    queue: str
    attempt: int = 1
    acked: bool = False


class Process:
    """A driver with a network of its own, so that it can be gone without a goodbye."""

    def __init__(self, place: Place, stack: ExitStack) -> None:
        self.proxy = stack.enter_context(Proxy(place.port))
        self.driver = place.make(self.proxy.port)
        self.attachments: dict[str, Attachment] = {}
        self.driver.start()

    def die(self) -> gevent.Greenlet[[], None]:
        """Cuts it off for good; its driver ends in the background, unheard."""
        self.proxy.refuse(True)
        self.proxy.cut()
        return gevent.spawn(self.driver.stop)


class BrokerMachine(RuleBasedStateMachine):
    """Plays with two queues of a broker."""

    def __init__(self, place: Place, played: Played) -> None:
        super().__init__()
        self.place = place
        self.played = played
        self.played.lives += 1
        self.stack = ExitStack()
        self.fates: dict[bytes, Fate] = {}
        self.held: list[tuple[bytes, Delivery]] = []
        self.serial = next(SERIALS)
        self.process = Process(place, self.stack)
        self.dying: list[gevent.Greenlet[[], None]] = []
        self.problems: list[str] = []

    @initialize()
    def set_up(self) -> None:
        for name in NAMES:
            queue = f"model-{self.serial}-{name}"
            self.process.driver.declare_queue(QueueConfig(name, "driver", queue))

    def has_messages(self) -> bool:
        """Tells whether there is anything to see; most steps of a life would happen to nothing."""
        return not all(fate.acked for fate in self.fates.values())

    # The sink of every consumer

    def put(self, item: Delivery) -> None:
        body, attempt = item.message.body, item.attempt
        fate = self.fates.get(body)
        if fate is None:
            self.problems.append(f"invented: {body!r}")
        elif fate.acked:
            self.problems.append(f"acked, and came again: {body!r}")
        elif attempt < fate.attempt:
            self.problems.append(f"{body!r}: attempt {attempt}, not {fate.attempt} or more")
        else:
            fate.attempt = attempt
            self.held.append((body, item))

    @rule(name=queues, delayed=st.booleans(), number=st.integers(1, 3))
    def publish(self, name: str, delayed: bool, number: int) -> None:
        self.played.messages += number
        messages = []
        for _ in range(number):
            body = b"%d" % len(self.fates)
            self.fates[body] = Fate(name)
            messages.append(Message(body.decode(), body, BINARY, {}, 0.0))
        delay = self.place.unit if delayed else 0.0
        self.process.driver.publish(name, messages, delay=delay)

    @rule(name=queues, credit=st.integers(1, 4))
    def attach(self, name: str, credit: int) -> None:
        if name not in self.process.attachments:
            attachment = self.process.driver.attach(name, credit, self)
            self.process.attachments[name] = attachment

    @precondition(lambda self: self.has_messages())
    @rule(name=queues)
    def detach(self, name: str) -> None:
        if name in self.process.attachments:
            self.process.attachments.pop(name).detach()

    @precondition(lambda self: self.has_messages())
    @rule()
    def time_passes(self) -> None:
        gevent.sleep(self.place.unit)
        assert self.problems == []

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        body, delivery = self.settle(data)
        self.fates[body].acked = True
        delivery.ack()
        delivery.ack()

    @precondition(lambda self: self.held)
    @rule(data=st.data(), delayed=st.booleans(), charged=st.booleans())
    def release(self, data: st.DataObject, delayed: bool, charged: bool) -> None:
        body, delivery = self.settle(data)
        self.fates[body].attempt += charged
        if not (charged or self.process.driver.capabilities.uncharged_release):
            self.fates[body].attempt += 1
        delivery.release(self.place.unit if delayed else 0.0, charged)
        delivery.ack()

    @precondition(lambda self: self.held)
    @rule(data=st.data(), to=queues)
    def move(self, data: st.DataObject, to: str) -> None:
        body, delivery = self.settle(data)
        self.fates[body] = Fate(to)
        delivery.move(to, delivery.message)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def extend(self, data: st.DataObject) -> None:
        _, delivery = data.draw(st.sampled_from(self.held))
        delivery.extend(2 * self.place.unit)

    @precondition(lambda self: self.has_messages())
    @rule(name=queues)
    def info(self, name: str) -> None:
        waiting = sum(fate.queue == name and not fate.acked for fate in self.fates.values())
        assert self.process.driver.info(name).ready <= waiting

    @precondition(lambda self: self.has_messages())
    @rule()
    def restart(self) -> None:
        self.process.driver.stop()
        self.leave()
        self.process.driver.start()

    @precondition(lambda self: self.has_messages())
    @rule()
    def crash(self) -> None:
        self.played.crashes += 1
        # What was settled is written first: an ack that is lost may be done again, as it must.
        self.process.driver.stop()
        self.process.driver.start()
        self.leave()
        for name in NAMES:
            self.attach(name, 2)
        gevent.sleep(self.place.unit)
        self.dying.append(self.process.die())
        self.leave()
        self.process = Process(self.place, self.stack)
        self.set_up()

    def leave(self) -> None:
        """Forgets what the process held: it comes back by itself."""
        self.held.clear()
        self.process.attachments.clear()

    def settle(self, data: st.DataObject) -> tuple[bytes, Delivery]:
        chosen = data.draw(st.sampled_from(self.held))
        self.held.remove(chosen)
        return chosen

    def teardown(self) -> None:
        try:
            self.drain()
        finally:
            self.process.driver.stop()
            gevent.joinall(self.dying, timeout=STOP_SECONDS)
            self.stack.close()
        assert self.problems == []
        assert all(greenlet.ready() for greenlet in self.dying)

    def drain(self) -> None:
        """Acks whatever comes until nothing is left; what never comes is lost."""
        for name in NAMES:
            self.attach(name, 4)
        deadline = monotonic() + DRAIN_SECONDS
        while lost := [body for body, fate in self.fates.items() if not fate.acked]:
            assert monotonic() < deadline, f"lost: {lost}"
            assert self.problems == []
            while self.held:
                body, delivery = self.held.pop()
                self.fates[body].acked = True
                delivery.ack()
            gevent.sleep(0.01)


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    def make(port: int) -> Driver:
        return RedisDriver(f"redis://127.0.0.1:{port}/0", SystemClock(), NullLog(), lease=LEASE)

    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield Place(server.port, make, unit=0.1)


@pytest.fixture
def amqp(rabbitmq: RabbitMQ) -> Place:
    def make(port: int) -> Driver:
        return make_amqp(f"amqp://guest:guest@127.0.0.1:{port}/")

    return Place(rabbitmq.port, make, unit=0.1)


@pytest.fixture
def sqs() -> Iterator[Place]:
    def make(port: int) -> Driver:
        here = replace(base, endpoint=f"http://127.0.0.1:{port}")
        return SqsDriver(here, SystemClock(), NullLog())

    base = SqsSettings(
        region=REGION,
        endpoint="",
        access_key_id="test",
        secret_access_key="test",  # noqa: S106 - any will do on loopback
        visibility_timeout=2,
        wait_time=0,
    )
    with running() as server:
        yield Place(int(server.endpoint.rpartition(":")[2]), make, unit=1.0)


#: A life on SQS takes half a minute.
BROKERS = ["redis", "amqp", *(["sqs"] if IS_LONG else [])]


@pytest.mark.parametrize("broker", BROKERS)
def test_a_broker_loses_and_invents_nothing(
    broker: str, figures: Figures, request: pytest.FixtureRequest
) -> None:
    place: Place = request.getfixturevalue(broker)
    lives = {"lives": 30, "steps": 30} if IS_LONG else {"lives": 4, "steps": 20}
    play(partial(BrokerMachine, place), broker, figures, **lives)
