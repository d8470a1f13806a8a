"""The contract of operations, whoever does them: this process, or a host that is asked by HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from wippy_lua.operations.values import (
    Progress,
    Publication,
    QueueStatus,
    Selection,
    StoredMessage,
)

NOTHING_SPECIAL = Selection()

MAX_PEEK = 1000  #: messages that `peek` and `dead_letters` return at most


class Operations(Protocol):
    """An operator's verbs over the queues of one app.

    A `queue` is a queue ID of the app, else `QueueNotFound`. Every verb blocks for its broker and
    raises `WippyError`: UNAVAILABLE or TIMEOUT when that cannot be reached, INVALID for what it or
    this place cannot do, with a message that says what can.

    The verbs for dead letters take the queue that holds them, or the queue whose letters go
    there and then only mean its own. A queue that has letters of others always means itself.
    INVALID when neither is so.
    """

    def queues(self) -> Sequence[QueueStatus]:
        """Returns every queue in the order of their IDs; one that cannot be asked says why."""

    def queue(self, queue: str) -> QueueStatus:
        """Returns one queue; `error` says why when it cannot be asked."""

    def peek(self, queue: str, limit: int) -> Sequence[StoredMessage]:
        """Returns up to `limit` (1 to MAX_PEEK) ready messages in order and changes nothing.

        INVALID on a broker that cannot look without taking (RabbitMQ, SQS).
        """

    def publish(self, queue: str, publication: Publication) -> str:
        """Publishes and returns the message's ID; raises what `Host.publish` does."""

    def purge(self, queue: str) -> int:
        """Removes all ready and delayed messages; returns how many. In flight ones stay."""

    def pause(self, queue: str) -> None:
        """Lets the host's consumers of a queue take nothing more, until `resume`.

        What they hold and have not begun goes back without spending an attempt; handlers that
        run end as usual. The consumers stay up as services, and whatever of them starts again or
        anew is paused, too. Idempotent. INVALID where no host runs.
        """

    def resume(self, queue: str) -> None:
        """Lets the consumers of a queue take again. Idempotent. INVALID where no host runs."""

    def dead_letters(
        self, queue: str, selection: Selection = NOTHING_SPECIAL
    ) -> Sequence[StoredMessage]:
        """Returns dead letters, MAX_PEEK at most, and leaves them where they are.

        A broker that cannot look without taking has them taken and given back at once: they may
        change their order, and others cannot take them meanwhile.
        """

    def replay(
        self,
        queue: str,
        selection: Selection = NOTHING_SPECIAL,
        *,
        rate: float | None = None,
        dry_run: bool = False,
    ) -> Iterator[Progress]:
        """Moves dead letters back to their original queues; yields how far it is.

        They lose their `x_` headers and begin at their first attempt. One whose original queue
        is not in the app, or cannot be reached, stays and is counted in `left`. At most `rate`
        a second. Each is moved by itself: a crash repeats at most one and loses none, and what it
        held comes back (after the lease, where there is one).

        Misuse is raised by the call itself; what fails later is raised by the iterator. It yields
        a few times a second, and once more at its end. Closing it ends the work, and what is held
        goes back without spending an attempt. What is added meanwhile is left alone: it looks at
        no more than there was at the beginning. Those that do not match are not touched where the
        broker can look without taking; else they are held until the end and given back.
        """

    def drop(
        self, queue: str, selection: Selection = NOTHING_SPECIAL, *, dry_run: bool = False
    ) -> Iterator[Progress]:
        """Removes dead letters for good; yields as `replay` does."""
