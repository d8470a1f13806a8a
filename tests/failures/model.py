"""A driver against a model of plain lists, through random lives of two queues under one clock."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.failures.lives import Played
from wippy_lua.errors import QueueFull
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.driver import Attachment, Driver, QueueInfo
from wippy_lua.queue.message import Delivery, Message
from wippy_lua.testing import VirtualClock
from wippy_lua.testing.probe import Patience, eventually

MAX_LENGTH = 4
NAMES = ("a", "b")
EPOCH = VirtualClock().time()
PATIENCE = 10.0  #: seconds of real time for what a driver does on other threads

queues = st.sampled_from(NAMES)
#: Multiples of a half, so that the model's sums are the clock's to the last bit.
delays = st.sampled_from([0.0, 0.0, 0.5, 1.0, 3.0])
ttls = st.sampled_from([None, None, 0.5, 1.0, 2.0, 4.0])
priorities = st.sampled_from([0, 0, 0, 5, 9])


@dataclass
class Item:
    """A message as the model knows it; `due` and `expires` in the clock's monotonic time."""

    id: str
    priority: int
    expires: float
    due: float = 0.0
    attempt: int = 1
    in_flight: bool = False


@dataclass
class Model:
    """One queue; `ready` is in the order of publishing, of release, or of becoming due."""

    ready: list[Item] = field(default_factory=list)
    delayed: list[Item] = field(default_factory=list)
    in_flight: list[Item] = field(default_factory=list)

    def place(self, item: Item, now: float) -> None:
        if item.expires <= now:
            return
        (self.delayed if item.due > now else self.ready).append(item)

    def pass_time(self, now: float) -> None:
        for item in sorted(self.delayed, key=lambda item: item.due):
            if item.due <= now:
                self.delayed.remove(item)
                self.ready.append(item)
        self.ready = [item for item in self.ready if item.expires > now]
        self.delayed = [item for item in self.delayed if item.expires > now]

    def ordered(self) -> list[Item]:
        return sorted(self.ready, key=lambda item: -item.priority)

    def deliver(self) -> Item:
        item = self.ordered()[0]
        self.ready.remove(item)
        self.in_flight.append(item)
        return item


class Consumer:
    """A consumer of the driver and of the model, fed with credit by hand."""

    def __init__(self, credit: int) -> None:
        self.free = credit
        self.expected: list[tuple[str, int]] = []
        self.received: list[tuple[str, int]] = []
        self.held: list[Delivery] = []
        self.attachment: Attachment | None = None

    def has_enough(self) -> bool:
        """Tells whether all came that must, or more."""
        return len(self.received) >= len(self.expected)

    def put(self, item: Delivery) -> None:
        self.received.append((item.message.id, item.attempt))
        self.held.append(item)


class DriverMachine(RuleBasedStateMachine):
    """Does the same to driver and model; after each step they must look the same.

    A subclass makes drivers. With a clock that only the machine moves, all of it is exact.
    """

    #: Messages are still there when the process was killed.
    survives_crash = True
    #: Seconds after which the messages of a killed process have come back.
    lease = 0.0

    def __init__(self, played: Played) -> None:
        super().__init__()
        self.played = played
        self.played.lives += 1
        self.clock = VirtualClock()
        self.models = {name: Model() for name in NAMES}
        self.consumers: dict[str, Consumer] = {}
        self.taken: list[tuple[str, Delivery]] = []
        self.count = 0
        self.driver = self.make_driver()

    @property
    def now(self) -> float:
        """Returns the model's time, which goes on when a process does not."""
        return self.clock.time() - EPOCH

    def has_messages(self) -> bool:
        """Tells whether there is anything to see; most steps of a life would happen to nothing."""
        return any(m.ready or m.delayed or m.in_flight for m in self.models.values())

    def make_driver(self) -> Driver:
        """Returns another driver of the same place, as another process would have, not started."""
        raise NotImplementedError

    def rest(self) -> None:
        """Returns when all that was begun is done."""

    @initialize()
    def set_up(self) -> None:
        self.driver.start()
        for name in NAMES:
            options = {"max_length": MAX_LENGTH}
            self.driver.declare_queue(QueueConfig(name, "driver", name, options=options))

    @rule(name=queues, priority=priorities, delay=delays, ttl=ttls)
    def publish(self, name: str, priority: int, delay: float, ttl: float | None) -> None:
        self.count += 1
        self.played.messages += 1
        message = Message(str(self.count), b"", "", {"priority": priority}, self.clock.time())
        model = self.models[name]
        now = self.now
        if len(model.ready) + len(model.delayed) >= MAX_LENGTH:
            with pytest.raises(QueueFull):
                self.driver.publish(name, [message], delay=delay, ttl=ttl, timeout=0.0)
            return
        self.driver.publish(name, [message], delay=delay, ttl=ttl, timeout=0.0)
        expires = float("inf") if ttl is None else now + ttl
        model.place(Item(message.id, priority, expires, now + delay if delay else 0.0), now)
        self.serve(name)

    @precondition(lambda self: self.has_messages())
    @rule(name=queues, limit=st.integers(1, 3))
    def take(self, name: str, limit: int) -> None:
        model = self.models[name]
        taken = self.driver.take(name, limit)
        expected = [model.deliver() for _ in range(min(limit, len(model.ready)))]
        assert [(d.message.id, d.attempt) for d in taken] == [(i.id, i.attempt) for i in expected]
        self.taken += [(name, delivery) for delivery in taken]

    @rule(name=queues, credit=st.integers(1, 3))
    def attach(self, name: str, credit: int) -> None:
        if name not in self.consumers:
            consumer = self.consumers[name] = Consumer(credit)
            consumer.attachment = self.driver.attach(name, credit, consumer)
            self.serve(name)

    @precondition(lambda self: self.has_messages())
    @rule(name=queues)
    def detach(self, name: str) -> None:
        consumer = self.consumers.pop(name, None)
        if consumer is not None and consumer.attachment is not None:
            consumer.attachment.detach()
            self.taken += [(name, delivery) for delivery in consumer.held]

    @precondition(lambda self: self.unsettled())
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        name, delivery, _ = self.settle_one(data)
        delivery.ack()
        self.serve(name)
        delivery.ack()

    @precondition(lambda self: self.unsettled())
    @rule(data=st.data(), delay=delays, charged=st.booleans())
    def release(self, data: st.DataObject, delay: float, charged: bool) -> None:
        name, delivery, item = self.settle_one(data)
        now = self.now
        delivery.release(delay, charged)
        item.attempt += charged
        item.due = now + delay if delay else 0.0
        self.models[name].place(item, now)
        self.serve(name)
        delivery.release(delay, charged)

    @precondition(lambda self: self.unsettled())
    @rule(data=st.data(), to=queues)
    def move(self, data: st.DataObject, to: str) -> None:
        name, delivery, item = self.settle_one(data)
        delivery.move(to, delivery.message)
        self.models[to].place(Item(item.id, item.priority, float("inf")), 0.0)
        self.serve(to)
        self.serve(name)
        delivery.move(to, delivery.message)

    @precondition(lambda self: self.has_messages())
    @rule(seconds=st.sampled_from([0.5, 1.0, 2.0]))
    def time_passes(self, seconds: float) -> None:
        steps = int(seconds / 0.5)
        for _ in range(steps):
            self.rest()
            self.clock.advance(0.5)
            self.rest()
            for name in NAMES:
                self.models[name].pass_time(self.now)
                self.serve(name)

    @precondition(lambda self: self.has_messages())
    @rule(name=queues)
    def purge(self, name: str) -> None:
        model = self.models[name]
        assert self.driver.purge(name) == len(model.ready) + len(model.delayed)
        model.ready.clear()
        model.delayed.clear()

    @precondition(lambda self: self.unsettled())
    @rule(data=st.data(), seconds=st.sampled_from([0.0, 1.0, 20.0]))
    def extend(self, data: st.DataObject, seconds: float) -> None:
        _, delivery = data.draw(st.sampled_from(self.unsettled()))
        delivery.extend(seconds)

    @precondition(lambda self: self.has_messages())
    @rule()
    def restart(self) -> None:
        self.driver.stop()
        self.driver.start()
        stale = self.forget_consumers()
        self.come_back()
        for delivery in stale:
            delivery.ack()

    @precondition(lambda self: self.has_messages())
    @rule()
    def crash(self) -> None:
        self.played.crashes += 1
        # A process that is gone does nothing more: its clock stands still from now on.
        self.rest()
        for consumer in self.consumers.values():
            if consumer.attachment is not None:
                consumer.attachment.detach()
        self.rest()
        stale = self.forget_consumers()
        self.clock = VirtualClock(self.clock.time())
        self.driver = self.make_driver()
        self.set_up()
        self.pass_lease()
        for delivery in stale:  # it was not gone after all, and comes too late
            delivery.ack()

    def pass_lease(self) -> None:
        """Lets the new process see the messages of the lost one come back."""
        for _ in range(int(self.lease / 0.5) + 2 if self.survives_crash else 0):
            self.clock.advance(0.5)
            self.rest()
        now = self.now
        for model in self.models.values():
            if not self.survives_crash:
                model.ready, model.delayed, model.in_flight = [], [], []
            model.pass_time(now)
        self.come_back()

    def forget_consumers(self) -> list[Delivery]:
        stale = [delivery for _, delivery in self.unsettled()]
        self.consumers.clear()
        self.taken.clear()
        return stale

    def come_back(self) -> None:
        """Gives what was in flight back to the model, charged."""
        for model in self.models.values():
            back, model.in_flight = model.in_flight, []
            for item in back:
                item.attempt += 1
                item.due = 0.0
                model.place(item, self.now)
        for name in NAMES:
            self.follow_order(name)

    @invariant()
    def looks_the_same(self) -> None:
        self.rest()
        for name, model in self.models.items():
            info = self.driver.info(name)
            total = len(model.ready) + len(model.delayed) + len(model.in_flight)
            assert info == QueueInfo(
                ready=len(model.ready),
                message_count=total,
                in_flight=len(model.in_flight),
                delayed=len(model.delayed),
                consumer_count=int(name in self.consumers),
                oldest_age=info.oldest_age,
            )
            assert (info.oldest_age is None) == (total == 0)
            assert [m.id for m in self.driver.peek(name, 99)] == [i.id for i in model.ordered()]
        for consumer in self.consumers.values():
            patience = Patience(must=PATIENCE)
            eventually(consumer.has_enough, patience)
            assert consumer.received == consumer.expected

    def serve(self, name: str) -> None:
        """Lets the model deliver what its consumer has credit for."""
        consumer = self.consumers.get(name)
        while consumer is not None and consumer.free and self.models[name].ready:
            item = self.models[name].deliver()
            consumer.free -= 1
            consumer.expected.append((item.id, item.attempt))

    def follow_order(self, name: str) -> None:
        """Takes over the driver's order of messages that came back together."""
        order = {message.id: index for index, message in enumerate(self.driver.peek(name, 99))}
        assert order.keys() == {item.id for item in self.models[name].ready}
        self.models[name].ready.sort(key=lambda item: order[item.id])

    def unsettled(self) -> list[tuple[str, Delivery]]:
        held = [
            (n, delivery) for n, consumer in self.consumers.items() for delivery in consumer.held
        ]
        return held + self.taken

    def settle_one(self, data: st.DataObject) -> tuple[str, Delivery, Item]:
        """Picks an unsettled delivery, and takes it out of the model's books."""
        name, delivery = data.draw(st.sampled_from(self.unsettled()))
        consumer = self.consumers.get(name)
        if consumer is not None and delivery in consumer.held:
            consumer.held.remove(delivery)
            consumer.free += 1
        else:
            self.taken.remove((name, delivery))
        flying = self.models[name].in_flight
        item = next(item for item in flying if item.id == delivery.message.id)
        flying.remove(item)
        return name, delivery, item
