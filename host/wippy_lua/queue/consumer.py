"""A consumer: takes deliveries of one queue, calls its function, settles each exactly once."""

from __future__ import annotations

import random
from collections.abc import Callable, Container, Iterable
from math import inf
from time import monotonic

import gevent
from gevent.lock import BoundedSemaphore
from gevent.queue import SimpleQueue

from wippy_lua.call import Call, Settler
from wippy_lua.clock import Clock
from wippy_lua.errors import Kind, StopTimeout, WippyError
from wippy_lua.log import Log
from wippy_lua.queue.codec import body_kind
from wippy_lua.queue.config import ConsumerConfig, QueueConfig
from wippy_lua.queue.driver import Attachment, Driver
from wippy_lua.queue.manager import Move
from wippy_lua.queue.message import Delivery
from wippy_lua.queue.settle import (
    ACK,
    GIVE_BACK,
    SUCCESS,
    Cancelled,
    DeadLetter,
    Decision,
    Failure,
    Outcome,
    Release,
    dead_letter_message,
    out_of_attempts,
    settle,
)
from wippy_lua.queue.tally import Tally
from wippy_lua.security.context import Security
from wippy_lua.turns import Turns

#: Calls a function with a body; `Functions.handle`.
Handle = Callable[[Call, int, bytes], Outcome]

#: Seconds that an interrupted handler gets to unwind before its worker is given up.
UNWIND_SECONDS = 1.0


class Consumer:
    """The service of one `queue.consumer` entry: an attachment, a buffer and its workers.

    The buffer has no bound of its own: the driver never has more than `prefetch + concurrency`
    deliveries unsettled, and each worker holds one of them. While its queue is in `paused` it runs
    on without an attachment.
    """

    def __init__(
        self,
        config: ConsumerConfig,
        queue: QueueConfig,
        driver: Driver,
        handle: Handle,
        dead_letter: Move | None,
        clock: Clock,
        log: Log,
        security: Security | None = None,
        paused: Container[str] = (),
    ) -> None:
        self.config = config
        self.tally = Tally(clock.time)
        self._queue = queue
        self._driver = driver
        self._handle = handle
        self._dead_letter = dead_letter
        self._clock = clock
        self._log = log.bind(
            logger="consumer", consumer=config.id, queue=config.queue, function=config.func
        )
        self._security = security
        self._paused = paused
        self._timeout = inf if config.timeout is None else config.timeout
        self._last_attempt = inf if queue.dead_letter is None else queue.dead_letter.max_attempts
        self._settler: Settler = self._settle_early  # bound once: each call is given it
        self._buffer: SimpleQueue[Delivery | None] = SimpleQueue()
        self._workers: list[gevent.Greenlet[..., None]] = []
        self._attachment: Attachment | None = None
        self._switching = BoundedSemaphore()
        self._running = False
        self._taking = False
        self._calls: set[Call] = set()

    def start(self, exited: Callable[[BaseException | None], None]) -> None:  # noqa: ARG002 - a consumer ends only by stop
        """Starts the workers, then delivery."""
        config = self.config
        self._running = True
        self._buffer = SimpleQueue()
        self._workers = [
            gevent.Greenlet.spawn(self._work, self._buffer) for _ in range(config.concurrency)
        ]
        self.obey()
        self._log.info(
            "consumer started",
            concurrency=config.concurrency,
            prefetch=config.prefetch,
            paused=self._attachment is None,
        )

    def obey(self) -> None:
        """Takes deliveries while it runs and its queue is not paused, else none.

        Of what it holds by then, what is not begun goes back without spending an attempt. Blocks
        for the driver; raises WippyError when that cannot attach.
        """
        with self._switching:  # attaching may take its time, and the answer change meanwhile
            self._taking = self._running and self.config.queue not in self._paused
            if self._taking and self._attachment is None:
                credit = self.config.prefetch + self.config.concurrency
                self._attachment = self._driver.attach(self.config.queue, credit, self._buffer)
            elif not self._taking and self._attachment is not None:
                attachment, self._attachment = self._attachment, None
                attachment.detach()
                self._give_back(self._buffered())

    def stop(self, timeout: float) -> None:
        """Stops in four steps, so that a handler that can finish does.

        No new deliveries, and what waits in the buffer goes back without spending an attempt;
        handlers are told; they have `timeout` seconds; what still runs is interrupted, its
        messages go back, and StopTimeout names them.
        """
        if not self._running:
            return
        self._running = False
        self.obey()
        for call in self._calls:
            call.cancelled = True
        for _ in self._workers:
            self._buffer.put(None)
        gevent.joinall(self._workers, timeout=timeout)
        self._give_back(self._buffered())
        interrupted = self._interrupt()
        self._workers = []
        if interrupted:
            raise StopTimeout(self.config.id, timeout, interrupted)
        self._log.info("consumer stopped")

    @property
    def connected(self) -> bool:
        """Whether its broker can give it messages; false while it is stopped."""
        return self._attachment is not None and self._attachment.connected

    @property
    def working(self) -> int:
        """How many handlers run."""
        return len(self._calls)

    @property
    def buffered(self) -> int:
        """How many deliveries wait for a worker."""
        return self._buffer.qsize()

    def _work(self, buffer: SimpleQueue[Delivery | None]) -> None:
        turns = Turns()
        while (delivery := buffer.get()) is not None:
            try:
                self._process(delivery)
            except Exception as error:  # noqa: BLE001 - a worker must survive; the message comes back by itself
                self._log.error("settling failed", exc_info=error, **_facts(delivery))
            # A call that is short never looks itself, and a driver may fill the buffer meanwhile.
            if turns.is_over():
                turns.give_up()

    def _process(self, delivery: Delivery) -> None:
        """Calls the function for one delivery and settles it exactly once."""
        if not self._taking:  # it was on its way when delivery ended
            self._apply(delivery, GIVE_BACK)
            return
        outcome = self._begin(delivery) or self._call(delivery)
        if outcome is SUCCESS:
            # One that its handler has settled is counted as that, unless the consumer was first.
            if self._apply(delivery, ACK) or self.config.auto_ack:
                self.tally.successes += 1
            return
        if self.config.auto_ack or not delivery.settled:
            self.tally.failed(outcome)
        decision = self._decide(outcome, delivery)
        self._report(delivery, outcome, decision)
        self._apply(delivery, decision)

    def _begin(self, delivery: Delivery) -> Outcome | None:
        """Returns the outcome of a delivery that is not to be handled."""
        if delivery.attempt > self._last_attempt:
            # Its last attempt never came to a decision. What ends its host would end this one too.
            return out_of_attempts(delivery.attempt)
        if self.config.auto_ack:
            self._apply(delivery, ACK)
        return None

    def _call(self, delivery: Delivery) -> Outcome:
        config, message = self.config, delivery.message
        began = monotonic()
        call = Call(
            config.func,
            began + self._timeout,
            delivery,
            config.id,
            config.queue,
            self._settler,
            security=self._security,
        )
        self._calls.add(call)
        try:
            outcome = self._handle(call, body_kind(message.content_type), message.body)
        except Exception as error:  # noqa: BLE001 - a fault of the host is a failed attempt, no more
            self._log.error("calling the function failed", exc_info=error, **_facts(delivery))
            outcome = Failure(WippyError(f"internal error: {error}", kind=Kind.INTERNAL))
        finally:
            self._calls.discard(call)
            self.tally.ran(delivery, began)
        if call.cancelled and isinstance(outcome, Failure):
            return Cancelled()  # stopping may well be what failed it: the attempt is not spent
        return outcome

    def _decide(self, outcome: Outcome, delivery: Delivery) -> Decision:
        return settle(
            outcome, delivery.attempt, self.config.retry, self._queue.dead_letter, random.random()
        )

    def _settle_early(self, call: Call, outcome: Outcome) -> bool:
        """Settles while the handler still runs, when it asks for that itself."""
        delivery = call.delivery
        if delivery is None or not self._apply(delivery, self._decide(outcome, delivery)):
            return False
        if outcome == SUCCESS:
            self.tally.successes += 1
        else:
            self.tally.failed(outcome)
        return True

    def _apply(self, delivery: Delivery, decision: Decision) -> bool:
        """Tells the driver; only the first decision about a delivery counts."""
        if delivery.settled:
            return False
        delivery.settled = True
        if decision is ACK:
            delivery.ack()
            return True
        match decision:
            case Release(delay, charged):
                delivery.release(delay, charged)
                self.tally.retries += charged
            case DeadLetter():
                self._bury(delivery, decision)
        return True

    def _bury(self, delivery: Delivery, decision: DeadLetter) -> None:
        if self._dead_letter is None:
            raise AssertionError(f"{self._queue.id} has no dead-letter queue")
        message = dead_letter_message(
            delivery.message, decision, delivery.attempt, self._queue.id, self._clock.time()
        )
        try:
            self._dead_letter(delivery, message)
        except WippyError as error:
            self._log.error(
                "dead letter not stored, retrying later", error=error.message, **_facts(delivery)
            )
            delivery.release(self.config.retry.max_delay, charged=True)
            self.tally.retries += 1
        else:
            self.tally.dead_letters += 1

    def _report(self, delivery: Delivery, outcome: Outcome, decision: Decision) -> None:
        fields: dict[str, object] = _facts(delivery)
        if isinstance(outcome, Failure):
            fields["error"] = outcome.error.message
            if outcome.error.kind:
                fields["kind"] = outcome.error.kind.value
            if outcome.stack:
                fields["stack"] = outcome.stack
        if delivery.settled:
            self._log.warning("handler failed after its message was settled", **fields)
        elif isinstance(decision, DeadLetter):
            self._log.error(
                "message dead-lettered", to=decision.queue, reason=decision.reason, **fields
            )
        elif isinstance(decision, Release) and isinstance(outcome, Failure):
            self._log.warning("handler failed", retry_in=round(decision.delay, 3), **fields)

    def _buffered(self) -> Iterable[Delivery]:
        while not self._buffer.empty():
            delivery = self._buffer.get_nowait()
            if delivery is not None:
                yield delivery

    def _give_back(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            self._apply(delivery, GIVE_BACK)

    def _interrupt(self) -> list[str]:
        """Ends the calls that ran out of time; returns what they were."""
        late = tuple(self._calls)
        for call in late:
            call.interrupt()
        gevent.joinall(self._workers, timeout=UNWIND_SECONDS)
        for worker in self._workers:
            if not worker.dead:
                worker.kill(block=False)
        self._give_back(call.delivery for call in self._calls if call.delivery is not None)
        return [_describe(call) for call in late]


def _facts(delivery: Delivery) -> dict[str, object]:
    return {"message_id": delivery.message.id, "attempt": delivery.attempt}


def _describe(call: Call) -> str:
    delivery = call.delivery
    return call.function if delivery is None else f"{call.function} (message {delivery.message.id})"
