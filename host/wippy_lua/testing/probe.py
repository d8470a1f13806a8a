"""A queue and a consumer as tests see them: short to write, and patient with real brokers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from uuid import uuid4

import gevent
from gevent.queue import Empty, SimpleQueue

from wippy_lua.queue.driver import Attachment, Driver, QueueInfo
from wippy_lua.queue.message import BINARY, Delivery, Header, Message


@dataclass(frozen=True, slots=True)
class Patience:
    """How long tests wait, in seconds of real time."""

    #: For what must come.
    must: float = 10.0
    #: Before they believe that nothing comes.
    never: float = 0.3


def eventually(predicate: Callable[[], bool], patience: Patience) -> bool:
    """Waits until the predicate is true; tells whether it became so."""
    deadline = time.monotonic() + patience.must
    while not predicate():
        if time.monotonic() > deadline:
            return False
        gevent.sleep(0.01)
    return True


def make_message(
    body: bytes = b"body",
    headers: Mapping[str, Header] | None = None,
    content_type: str = BINARY,
    published_at: float = 1_700_000_000.0,
) -> Message:
    """Makes a message with an ID of its own."""
    return Message(uuid4().hex, body, content_type, headers or {}, published_at)


class Inbox:
    """A sink that tests read from."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._items: SimpleQueue[Delivery] = SimpleQueue()

    def put(self, item: Delivery) -> None:
        self._items.put(item)

    def receive(self) -> Delivery:
        """Waits for the next delivery."""
        try:
            return self._items.get(timeout=self._patience.must)
        except Empty:
            raise AssertionError(f"no delivery within {self._patience.must:g}s") from None

    def receive_many(self, count: int) -> list[Delivery]:
        """Waits for so many deliveries."""
        return [self.receive() for _ in range(count)]

    def drain(self, count: int) -> list[bytes]:
        """Waits for so many deliveries, acks each and returns their bodies."""
        bodies = []
        for _ in range(count):
            delivery = self.receive()
            bodies.append(delivery.message.body)
            delivery.ack()
        return bodies

    def is_quiet(self) -> bool:
        """Tells whether nothing came, after waiting for it a while."""
        try:
            unexpected = self._items.get(timeout=self._patience.never)
        except Empty:
            return True
        self._items.put(unexpected)
        return False


@dataclass
class QueueProbe:
    """A declared queue of the driver under test."""

    driver: Driver
    id: str
    patience: Patience
    attachments: list[Attachment] = field(default_factory=list)

    def publish(
        self,
        *bodies: bytes,
        headers: Mapping[str, Header] | None = None,
        delay: float = 0.0,
        ttl: float | None = None,
        timeout: float = 10.0,
    ) -> list[Message]:
        """Publishes all bodies at once, returning their messages."""
        messages = [make_message(body, headers) for body in bodies]
        self.driver.publish(self.id, messages, delay=delay, ttl=ttl, timeout=timeout)
        return messages

    def attach(self, credit: int = 10) -> Inbox:
        inbox = Inbox(self.patience)
        self.attachments.append(self.driver.attach(self.id, credit, inbox))
        return inbox

    def detach(self) -> None:
        """Detaches every consumer of this probe."""
        while self.attachments:
            self.attachments.pop().detach()

    def info(self) -> QueueInfo:
        return self.driver.info(self.id)

    def shows(self, *, ready: int, in_flight: int = 0, delayed: int = 0) -> bool:
        """Tells whether `info` comes to these counts, leaving out what the broker cannot tell."""

        def agrees() -> bool:
            info = self.info()
            seen = (info.ready, info.in_flight, info.delayed, info.message_count)
            wanted = (ready, in_flight, delayed, ready + in_flight + delayed)
            return all(a is None or a == b for a, b in zip(seen, wanted, strict=True))

        return eventually(agrees, self.patience)
