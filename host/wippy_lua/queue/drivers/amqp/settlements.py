"""Acks and nacks of one channel: from the verbs of its deliveries to frames."""

from __future__ import annotations

from typing import Protocol

from wippy_lua.queue.drivers.amqp import wire
from wippy_lua.queue.drivers.amqp.channel import Source


class Wakeable(Protocol):
    """A connection, as far as acks need it."""

    def send_later(self, source: Source) -> None: ...


class Numbered(Protocol):
    """A channel, as far as acks need it."""

    @property
    def connection(self) -> Wakeable: ...

    @property
    def number(self) -> int: ...


class Settlements:
    """How the deliveries of one channel were settled, told in as few frames as is right.

    One `multiple` ack speaks for all up to its tag, so it goes only as far as everything is
    settled, and its own tag must be one that was not acked before: that closes the channel.
    """

    def __init__(self, channel: Numbered) -> None:
        self._channel = channel
        self._fresh: list[int] = []
        self._returned: list[int] = []
        self._beyond: set[int] = set()
        self._floor = 0  # Everything up to here is settled.
        self._is_held = False

    @property
    def unsent(self) -> int:
        """How many were settled that the broker does not know of."""
        return len(self._fresh) + len(self._returned)

    def hold(self) -> None:
        """Tells the broker nothing until `let_go`."""
        self._is_held = True

    def let_go(self) -> None:
        """Tells the broker what was settled meanwhile."""
        self._is_held = False
        self._channel.connection.send_later(self)

    def ack(self, tag: int) -> None:
        self._wake()
        self._fresh.append(tag)

    def give_back(self, tag: int) -> None:
        """Puts a message back where it was."""
        self._wake()
        self._returned.append(tag)

    def drain(self) -> bytes:
        """Returns the frames of what was settled since the last time."""
        if self._is_held:
            return b""
        fresh, returned = self._fresh, self._returned
        self._fresh, self._returned = [], []
        number = self._channel.number
        # First: an ack of a later tag would take these with it.
        frames = [
            wire.method(number, "basic.nack", delivery_tag=tag, requeue=True) for tag in returned
        ]
        floor = self._raise_floor(fresh, returned)
        settled = [tag for tag in fresh if tag <= floor]
        if settled:
            frames.append(wire.ack(number, max(settled), multiple=len(settled) > 1))
        if len(settled) < len(fresh):
            frames += [wire.ack(number, tag, multiple=False) for tag in fresh if tag > floor]
        return b"".join(frames)

    def _raise_floor(self, fresh: list[int], returned: list[int]) -> int:
        beyond, floor = self._beyond, self._floor
        beyond.update(fresh, returned)
        while floor + 1 in beyond:
            floor += 1
            beyond.remove(floor)
        self._floor = floor
        return floor

    def _wake(self) -> None:
        if not self._fresh and not self._returned:
            self._channel.connection.send_later(self)
