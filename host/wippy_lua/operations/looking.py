"""How an operation goes through the letters of a queue: by looking, or by taking where it must."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, Protocol, TypeAlias

from wippy_lua.queue.driver import Driver, Seen
from wippy_lua.queue.message import Delivery

#: Letters that are looked at, picked and settled together, those that have to be taken for it, and
#: bytes of their bodies, about. What is taken waits for the others under its lease.
CHUNK: Final = 100
TAKEN_CHUNK: Final = 10
CHUNK_BYTES: Final = 8 * 1024 * 1024

#: Letters that one operation takes at most where it cannot look: all are held until its end.
MOST_TAKEN: Final = 100_000

#: A letter that was found, whether or not it had to be taken for that.
Found: TypeAlias = Seen | Delivery


class Looking(Protocol):
    """One way through the letters that were there at the beginning, the first one first."""

    total: int
    chunk: int

    def letters(self) -> Iterator[Found]:
        """Yields letters; blocks for the broker."""

    def claim(self, found: Sequence[Found]) -> Sequence[Delivery]:
        """Takes letters that were found, but for those that somebody else has by now."""

    def settled(self, delivery: Delivery) -> None:
        """Says that a claimed letter is settled."""

    def end(self) -> None:
        """Gives back what was taken and is not settled, in its order, without an attempt spent."""


def look(driver: Driver, queue: str) -> Looking:
    """Returns the way that suits a driver; asks it how many letters there are."""
    way = Browsing if driver.capabilities.browse else Taking
    return way(driver, queue, driver.info(queue).ready)


class Browsing:
    """Looks without taking: what is not claimed stays as it is and where it is."""

    chunk = CHUNK

    def __init__(self, driver: Driver, queue: str, total: int) -> None:
        self._driver = driver
        self._queue = queue
        self._held = Held()
        self.total = total

    def letters(self) -> Iterator[Found]:
        return islice(self._driver.browse(self._queue), self.total)

    def claim(self, found: Sequence[Found]) -> Sequence[Delivery]:
        picked = self._driver.pick(self._queue, [f for f in found if isinstance(f, Seen)])
        self._held.add(picked)
        return picked

    def settled(self, delivery: Delivery) -> None:
        self._held.remove(delivery)

    def end(self) -> None:
        self._held.give_back()


class Taking:
    """Takes all that it looks at, and holds it: given back at once, it would come again."""

    chunk = TAKEN_CHUNK

    def __init__(self, driver: Driver, queue: str, total: int) -> None:
        self._driver = driver
        self._queue = queue
        self._held = Held()
        self.total = min(total, MOST_TAKEN)

    def letters(self) -> Iterator[Found]:
        left = self.total
        while left and (taken := self._driver.take(self._queue, min(left, self.chunk))):
            left -= len(taken)
            self._held.add(taken)
            yield from taken

    def claim(self, found: Sequence[Found]) -> Sequence[Delivery]:
        return [each for each in found if isinstance(each, Delivery)]

    def settled(self, delivery: Delivery) -> None:
        self._held.remove(delivery)

    def end(self) -> None:
        if self._held.give_back():
            self._driver.flush(self._queue)


class Held:
    """Deliveries that are not settled yet, in the order in which they were taken."""

    def __init__(self) -> None:
        self._deliveries: dict[int, Delivery] = {}

    def add(self, deliveries: Iterable[Delivery]) -> None:
        self._deliveries.update((id(delivery), delivery) for delivery in deliveries)

    def remove(self, delivery: Delivery) -> None:
        del self._deliveries[id(delivery)]

    def give_back(self) -> int:
        """Releases all at once; returns how many."""
        deliveries, self._deliveries = self._deliveries, {}
        for delivery in deliveries.values():
            delivery.release(0.0, charged=False)
        return len(deliveries)


def next_chunk(letters: Iterator[Found], size: int) -> list[Found]:
    """Returns the next letters, fewer when they are large; none at the end."""
    chunk: list[Found] = []
    room = CHUNK_BYTES
    for letter in islice(letters, size):
        chunk.append(letter)
        room -= len(letter.message.body)
        if room <= 0:
            break
    return chunk
