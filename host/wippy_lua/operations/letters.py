"""What is done with dead letters: shown, replayed, dropped; one letter after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from math import isfinite
from typing import Final, Protocol

import gevent

from wippy_lua.clock import Clock
from wippy_lua.errors import Kind, WippyError
from wippy_lua.operations.choice import Choice, choose
from wippy_lua.operations.looking import Found, Looking, look, next_chunk
from wippy_lua.operations.stored import ORIGINAL_QUEUE, revived, stored_message
from wippy_lua.operations.values import Progress, Selection, StoredMessage
from wippy_lua.queue.driver import Driver
from wippy_lua.queue.manager import QueueManager
from wippy_lua.queue.message import Delivery, Message

#: Seconds between two reports of progress, at least.
REPORT_SECONDS: Final = 0.2

#: Why letters stay that are fine themselves.
NO_ORIGIN: Final = f"without {ORIGINAL_QUEUE}"
TAKEN: Final = "taken by another meanwhile"

#: Makes a queue's driver ready, and the queue known to it; raises WippyError.
Prepare = Callable[[str], None]


class Act(Protocol):
    """What is to be done with each letter."""

    def objection(self, message: Message) -> str | None:
        """Returns why a letter has to stay; None when nothing is against it."""

    def perform(self, letters: Sequence[Delivery]) -> Iterator[tuple[Delivery, str | None]]:
        """Settles letters; yields each with why it could not be and stays, None when it was.

        Raises WippyError when that is the fault of no letter.
        """


class Letters:
    """The letters of all dead-letter queues of an app."""

    def __init__(self, manager: QueueManager, prepare: Prepare, clock: Clock) -> None:
        self._manager = manager
        self._prepare = prepare
        self._clock = clock

    def show(self, queue: str, selection: Selection, most: int) -> list[StoredMessage]:
        """Returns what is meant, `most` at most, and leaves it in its queue."""
        choice = choose(self._manager, queue, selection)
        looking = look(self._driver(choice.holder), choice.holder)
        try:
            found = (f.message for f in looking.letters() if choice.includes(f.message))
            limit = most if choice.limit is None else min(choice.limit, most)
            return [stored_message(message) for message in islice(found, limit)]
        finally:
            looking.end()

    def replay(
        self, queue: str, selection: Selection, *, rate: float | None, dry_run: bool
    ) -> Iterator[Progress]:
        """Moves what is meant to where it came from, as `Operations.replay` says."""
        if rate is not None and not (rate > 0 and isfinite(rate)):
            raise WippyError(f"rate must be more than 0 a second, not {rate}", kind=Kind.INVALID)
        choice = choose(self._manager, queue, selection)
        driver = self._driver(choice.holder)
        act = Replay(self._manager, self._prepare, driver, choice.holder)
        return Run(choice, driver, act, self._clock, rate, dry_run=dry_run).steps()

    def drop(self, queue: str, selection: Selection, *, dry_run: bool) -> Iterator[Progress]:
        """Removes what is meant."""
        choice = choose(self._manager, queue, selection)
        driver = self._driver(choice.holder)
        return Run(choice, driver, Drop(), self._clock, None, dry_run=dry_run).steps()

    def _driver(self, queue: str) -> Driver:
        driver = self._manager.driver(queue)
        self._prepare(queue)
        return driver


class Replay:
    """Moves each letter back to its original queue, as it was before it died."""

    def __init__(
        self, manager: QueueManager, prepare: Prepare, driver: Driver, holder: str
    ) -> None:
        self._manager = manager
        self._prepare = prepare
        self._driver = driver
        self._holder = holder
        self._known = {config.id for config in manager}
        self._objections: dict[str, str | None] = {}

    def objection(self, message: Message) -> str | None:
        source = message.headers.get(ORIGINAL_QUEUE)
        if not isinstance(source, str):
            return NO_ORIGIN
        if source not in self._objections:
            self._objections[source] = self._check(source)
        return self._objections[source]

    def perform(self, letters: Sequence[Delivery]) -> Iterator[tuple[Delivery, str | None]]:
        if all(map(self._is_one_step, letters)):
            # A crash repeats none of these, however many are on their way.
            moves = [gevent.spawn(self._try, letter) for letter in letters]
            gevent.joinall(moves)
            for letter, move in zip(letters, moves, strict=True):
                result = move.get()
                if isinstance(result, WippyError):
                    raise result
                yield letter, result
            return
        for letter in letters:
            yield letter, self._move(letter)
            # Before the next copy is made: so a crash repeats one letter and no more.
            self._driver.flush(self._holder)

    def _is_one_step(self, letter: Delivery) -> bool:
        return self._driver.capabilities.atomic_move and self._is_here(_source(letter))

    def _is_here(self, queue: str) -> bool:
        return self._manager.driver(queue) is self._driver

    def _try(self, letter: Delivery) -> str | WippyError | None:
        try:
            return self._move(letter)
        except WippyError as error:
            return error

    def _move(self, letter: Delivery) -> str | None:
        source = _source(letter)
        try:
            self._manager.way(self._holder, source)(letter, revived(letter.message))
        except WippyError as error:
            reason = f"{source}: {error.message}"
            if error.kind not in (Kind.INVALID, Kind.NOT_FOUND):  # not the fault of the letter
                if self._is_here(source):
                    raise
                self._objections[source] = reason
            return reason
        return None

    def _check(self, source: str) -> str | None:
        if source not in self._known:
            return f"{source} is no queue of the app"
        if source == self._holder:
            return f"{source} is where it is"
        try:
            self._prepare(source)
        except WippyError as error:
            return f"{source}: {error.message}"
        return None


class Drop:
    """Removes each letter."""

    def objection(self, message: Message) -> str | None:  # noqa: ARG002 - any letter may go
        return None

    def perform(self, letters: Sequence[Delivery]) -> Iterator[tuple[Delivery, str | None]]:
        for letter in letters:
            letter.ack()
            yield letter, None


def _source(letter: Delivery) -> str:
    return str(letter.message.headers[ORIGINAL_QUEUE])


class Run:
    """One operation on the letters of one queue, from its beginning to its end."""

    def __init__(
        self,
        choice: Choice,
        driver: Driver,
        act: Act,
        clock: Clock,
        rate: float | None,
        *,
        dry_run: bool,
    ) -> None:
        self._choice = choice
        self._driver = driver
        self._act = act
        self._clock = clock
        self._rate = rate
        self._dry_run = dry_run
        self._total = 0
        self._done = 0
        self._skipped = 0
        self._left: Counter[str] = Counter()

    def steps(self) -> Iterator[Progress]:
        """Does it; yields how far it is, and at last the outcome."""
        looking = look(self._driver, self._choice.holder)
        limit = self._choice.limit
        everything = self._choice.is_everything and limit is not None
        self._total = min(looking.total, limit or 0) if everything else looking.total
        began = reported = self._clock.monotonic()
        try:
            yield self._progress()
            for chunk in self._chunks(looking):
                while (wait := self._wait(began, chunk)) > 0:
                    self._clock.sleep(min(wait, REPORT_SECONDS))
                    yield self._progress()
                self._perform(looking, chunk)
                self._clock.sleep(0)  # a host has other things to do
                if self._clock.monotonic() - reported >= REPORT_SECONDS:
                    reported = self._clock.monotonic()
                    yield self._progress()
        finally:
            looking.end()
        yield self._progress(finished=True)

    def _wait(self, began: float, chunk: list[Found]) -> float:
        """Returns the seconds until the rate lets a chunk go."""
        if self._rate is None or not chunk:
            return 0.0
        return began + self._done / self._rate - self._clock.monotonic()

    def _chunks(self, looking: Looking) -> Iterator[list[Found]]:
        """Yields what is meant and may go, of so many letters at a time."""
        letters, chosen, limit, size = looking.letters(), 0, self._choice.limit, looking.chunk
        if self._rate is not None:  # a slow one holds few, and can be ended at any time
            size = max(1, min(size, int(self._rate * REPORT_SECONDS)))
        while chunk := next_chunk(letters, size):
            goes = [each for each in chunk if self._is_to_go(each.message)]
            if limit is not None:
                goes = goes[: limit - chosen]
            chosen += len(goes)
            yield goes
            if chosen == limit:
                return

    def _is_to_go(self, message: Message) -> bool:
        if not self._choice.includes(message):
            self._skipped += 1
            return False
        objection = self._act.objection(message)
        if objection is not None:
            self._left[objection] += 1
        return objection is None

    def _perform(self, looking: Looking, chunk: list[Found]) -> None:
        if self._dry_run:
            self._done += len(chunk)
            return
        claimed = looking.claim(chunk)
        if len(claimed) < len(chunk):
            self._left[TAKEN] += len(chunk) - len(claimed)
        done = 0
        for letter, reason in self._act.perform(claimed):
            if reason is None:
                looking.settled(letter)
                done += 1
            else:
                self._left[reason] += 1  # and `looking` gives it back
        if done:
            self._driver.flush(self._choice.holder)
            self._done += done

    def _progress(self, *, finished: bool = False) -> Progress:
        return Progress(self._done, self._skipped, dict(self._left), self._total, finished)
