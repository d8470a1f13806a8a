"""What every driver says of a queue's options: the checks, and the errors that name the cure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from wippy_lua.errors import Kind, WippyError
from wippy_lua.queue.config import QueueConfig
from wippy_lua.registry.suggest import did_you_mean

LARGEST_MAX_LENGTH = 1_000_000_000


def check_known(queue: QueueConfig, driver: str, known: Collection[str]) -> None:
    """Raises WippyError of kind INVALID for an option that a driver does not know."""
    for name in queue.options:
        if name not in known:
            hint = did_you_mean(name, known) or f"; it knows: {', '.join(known)}"
            raise invalid(queue, name, f"the {driver} driver has no option {name!r}{hint}")


def max_length_of(queue: QueueConfig) -> int | None:
    """Returns how many messages may wait; None where the queue does not say."""
    return integer(queue, "max_length", 1, LARGEST_MAX_LENGTH)


def integer(queue: QueueConfig, name: str, lowest: int, highest: int) -> int | None:
    """Returns an option that is an integer in a range; None when it is not there, or null."""
    value = queue.options.get(name)
    if value is None or (type(value) is int and lowest <= value <= highest):
        return value
    wanted = f"must be an integer from {lowest} to {highest}, not {value!r}"
    raise invalid(queue, name, f"option {name!r} {wanted}")


def invalid(queue: QueueConfig, option: str, problem: str) -> WippyError:
    """Returns the error of an option, or of a name, that cannot be."""
    return WippyError(
        f"queue {queue.id!r}: {problem}",
        kind=Kind.INVALID,
        retryable=False,
        details={"queue": queue.id, "option": option},
    )


def conflict(
    queue: QueueConfig, there: Mapping[str, object], asked: Mapping[str, object]
) -> WippyError:
    """Returns the error of a queue that exists with other properties, showing both."""
    return WippyError(
        f"queue {queue.id!r} exists with {_show(there)}, and is declared with {_show(asked)}",
        kind=Kind.CONFLICT,
        retryable=False,
        details={"queue": queue.id, "existing": dict(there), "declared": dict(asked)},
    )


def _show(properties: Mapping[str, object]) -> str:
    shown = {name: "none" if value is None else repr(value) for name, value in properties.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())
