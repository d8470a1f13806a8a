"""A queue's options, and the queue as it is to be on SQS: pure but for the calls in `declare`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from wippy_lua.errors import QueueNotFound, WippyError
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.drivers.options import check_known, conflict, invalid
from wippy_lua.queue.drivers.sqs.api import Api
from wippy_lua.units import parse_duration, parse_size

DEFAULT_GROUP: Final = "default"

#: Bytes of a message with its attributes, unless a queue says less.
LARGEST_MESSAGE: Final = 1_048_576

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,80}")
_FIFO_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,75}\.fifo")


@dataclass(frozen=True, slots=True)
class Place:
    """A queue as it is on SQS; `limit` is bytes of one message with its attributes.

    `group` is the message group of what names none, on a FIFO queue.
    """

    name: str
    url: str
    is_fifo: bool
    limit: int
    hashes_content: bool
    group: str


@dataclass(frozen=True, slots=True)
class Option:
    """An option and the attribute that it sets; `read` raises ValueError saying what is right."""

    read: Callable[[object], str]
    attribute: str = ""
    fifo_only: bool = False


def declare(config: QueueConfig, api: Api) -> Place:
    """Finds or creates the queue; raises WippyError as `Driver.declare_queue` does."""
    wanted = attributes_of(config)
    url = api.queue_url(config.queue_name)
    if url is None and not config.declare:
        raise QueueNotFound(config.id)
    if url is None:
        url, found = _create(config.queue_name, wanted, api)
    else:
        found = api.attributes(url, ["All"])
    different = {key: value for key, value in wanted.items() if found.get(key) != value}
    if different and config.declare:
        raise conflict(config, {key: found.get(key) for key in different}, different)
    group = config.options.get("message_group_id", DEFAULT_GROUP)
    return Place(
        name=config.queue_name,
        url=url,
        is_fifo=is_fifo(config.queue_name),
        limit=int(found["MaximumMessageSize"]),
        hashes_content=found.get("ContentBasedDeduplication") == "true",
        group=str(group),
    )


def _create(name: str, wanted: Mapping[str, str], api: Api) -> tuple[str, Mapping[str, str]]:
    """Creates a queue; returns its URL and the attributes that matter."""
    fixed = {"FifoQueue": "true"} if is_fifo(name) else {}
    try:
        url = api.create_queue(name, {**fixed, **wanted})
    except WippyError:
        existing = api.queue_url(name)  # Another host may have been faster, and want other things.
        if existing is None:
            raise
        return existing, api.attributes(existing, ["All"])
    # Not asked for: for a second after its creation SQS may not know the queue yet.
    return url, {"MaximumMessageSize": str(LARGEST_MESSAGE), **wanted}


def attributes_of(config: QueueConfig) -> dict[str, str]:
    """Returns the queue attributes that the options ask for; raises WippyError of kind INVALID."""
    _check_name(config)
    if "max_length" in config.options:
        raise invalid(config, "max_length", "SQS cannot bound a queue's length (max_length)")
    check_known(config, "sqs", _OPTIONS)
    attributes: dict[str, str] = {}
    for name, value in config.options.items():
        option = _OPTIONS[name]
        if option.fifo_only and not is_fifo(config.queue_name):
            hint = "is for FIFO queues, whose queue_name ends with '.fifo'"
            raise invalid(config, name, f"option {name!r} {hint}")
        try:
            text = option.read(value)
        except ValueError as error:
            raise invalid(config, name, f"option {name!r} {error}") from error
        if option.attribute:
            attributes[option.attribute] = text
    return attributes


def is_fifo(name: str) -> bool:
    """Tells whether a queue of this name is a FIFO queue: SQS goes by the name, too."""
    return name.endswith(".fifo")


def _check_name(config: QueueConfig) -> None:
    rule = _FIFO_NAME if is_fifo(config.queue_name) else _NAME
    if not rule.fullmatch(config.queue_name):
        raise invalid(
            config,
            "queue_name",
            f"queue_name {config.queue_name!r} is none that SQS takes: up to 80 letters, digits,"
            " '-' and '_', with '.fifo' at the end for a FIFO queue",
        )


def _between(low: int, high: int, parse: Callable[[object], float]) -> Callable[[object], str]:
    def read(value: object) -> str:
        number = parse(value)
        if not low <= number <= high or number != int(number):
            raise ValueError(f"must be whole and between {low} and {high}, not {value!r}")
        return str(int(number))

    return read


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"must be a string that is not empty, not {value!r}")
    return value


def _flag(value: object) -> str:
    if value is not True and value is not False:
        raise ValueError(f"must be true or false, not {value!r}")
    return "true" if value else "false"


def _one_of(*values: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in values:
            raise ValueError(f"must be one of {', '.join(values)}, not {value!r}")
        return str(value)

    return read


_OPTIONS: Mapping[str, Option] = {
    "message_retention": Option(_between(60, 1_209_600, parse_duration), "MessageRetentionPeriod"),
    "maximum_message_size": Option(
        _between(1024, LARGEST_MESSAGE, parse_size), "MaximumMessageSize"
    ),
    "kms_master_key_id": Option(_text, "KmsMasterKeyId"),
    "message_group_id": Option(_text, fifo_only=True),
    "content_based_deduplication": Option(_flag, "ContentBasedDeduplication", fifo_only=True),
    "deduplication_scope": Option(
        _one_of("queue", "messageGroup"), "DeduplicationScope", fifo_only=True
    ),
    "fifo_throughput_limit": Option(
        _one_of("perQueue", "perMessageGroupId"), "FifoThroughputLimit", fifo_only=True
    ),
}
