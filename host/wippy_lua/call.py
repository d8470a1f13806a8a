"""One function call in progress: what it may know of itself, and how it is ended from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, TypeAlias

import gevent

if TYPE_CHECKING:
    from greenlet import greenlet

    from wippy_lua.queue.message import Delivery
    from wippy_lua.queue.settle import Outcome
    from wippy_lua.security.context import Security

#: What calls carry along unless somebody gives them values: nothing.
NO_CONTEXT: Mapping[str, bytes] = MappingProxyType({})

#: Settles a call's delivery on its handler's behalf; False when it was settled before.
Settler: TypeAlias = Callable[["Call", "Outcome"], bool]


class End(Enum):
    """Why the host ended a call."""

    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"


class CallInterrupt(BaseException):
    """Thrown into the greenlet of a call that waits in the host; never leaves the call."""


class Dependent(Protocol):
    """Something that must not outlive the call that it belongs to."""

    def interrupt(self) -> None:
        """Ends it soon, without blocking; harmless to what has ended."""


class Call:
    """A call of one function, from before its VM runs to its outcome.

    `deadline` is on `time.monotonic`. `cancelled` is what `msg:cancelled()` tells: the handler may
    finish, and what it leaves undone is given back. `end` is set once the call must stop running.
    `security` is whom it acts as and what that may do; None may do everything. What a call starts
    is given the same.
    """

    # Class-level defaults, so that making a call, once for each message, sets only what differs.
    loading = False
    cancelled = False
    end: End | None = None
    #: An exception from outside that the call must let through once its Lua has unwound.
    foreign: BaseException | None = None
    #: The one that is inside the VM, which need not be the one that made this object.
    greenlet: greenlet | None = None
    #: True when the next host function that the call enters ends it.
    ends_at_wait = False
    #: True while the call is inside a host function, where it may be switched away.
    waiting = False
    security: Security | None = None
    #: How many calls are above this one.
    depth = 0
    #: Values that whoever made the call gave it, packed; its own calls inherit them.
    context = NO_CONTEXT
    #: What must end with this call, such as calls that it made; None until there is something.
    dependents: set[Dependent] | None = None

    def __init__(
        self,
        function: str,
        deadline: float = inf,
        delivery: Delivery | None = None,
        consumer: str = "",
        queue: str = "",
        settler: Settler | None = None,
        loading: bool = False,
        security: Security | None = None,
    ) -> None:
        self.function = function
        self.deadline = deadline
        self.delivery = delivery
        self.consumer = consumer
        self.queue = queue
        self.settler = settler
        if loading:
            self.loading = True
        if security is not None:
            self.security = security

    def facts(self) -> dict[str, object]:
        """Returns what a log line says of the call."""
        facts: dict[str, object] = {"function": self.function}
        if self.consumer:
            facts |= {"consumer": self.consumer, "queue": self.queue}
        if self.delivery is not None:
            facts |= {"message_id": self.delivery.message.id, "attempt": self.delivery.attempt}
        return facts

    def child(self, function: str, deadline: float, context: Mapping[str, bytes]) -> Call:
        """Returns a call that this one makes: it ends no later, acts as this one, and inherits
        the context."""
        child = Call(
            function,
            min(deadline, self.deadline),
            consumer=self.consumer,
            queue=self.queue,
            security=self.security,
        )
        child.depth = self.depth + 1
        child.context = {**self.context, **context} if context else self.context
        self.keep(child)
        return child

    def keep(self, dependent: Dependent) -> None:
        """Makes something end with the call, unless it leaves before."""
        if self.dependents is None:
            self.dependents = set()
        self.dependents.add(dependent)

    def leave(self, dependent: Dependent) -> None:
        """Lets go of something that has ended; quiet when it was let go before."""
        if self.dependents is not None:
            self.dependents.discard(dependent)

    def end_dependents(self) -> None:
        """Interrupts what has not ended yet; called once the call has left its VM."""
        if self.dependents:
            for dependent in tuple(self.dependents):
                dependent.interrupt()

    def interrupt(self, end: End = End.INTERRUPTED) -> None:
        """Ends the call: at once where it waits in the host, else at its hook's next look."""
        if self.end is None:
            self.end = end
        if self.waiting:
            gevent.get_hub().loop.run_callback(self._wake)

    def end_at_wait(self) -> None:
        """Ends the call where it waits in the host: there now, or at the next host function."""
        self.ends_at_wait = True
        if self.waiting:
            self.interrupt()

    def caught(self, error: BaseException) -> None:
        """Notes an exception that arrived while the call was inside a host function."""
        if self.end is None or not isinstance(error, CallInterrupt):
            self.foreign = error
            self.end = self.end or End.INTERRUPTED

    def _wake(self) -> None:
        # Asked again here: between the request and this callback the wait may have ended.
        if self.waiting and self.greenlet is not None and not self.greenlet.dead:
            self.greenlet.throw(CallInterrupt())
