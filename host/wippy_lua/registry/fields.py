"""The types of fields beyond Python's own, as markers that the decoder understands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta


class Form(Enum):
    """How the text of a field is read."""

    DURATION = auto()
    SIZE = auto()
    SOURCE = auto()
    MODULE = auto()
    NOT_EMPTY = auto()
    GROUP = auto()
    ONE_OR_MANY = auto()


@dataclass(frozen=True)
class Ref:
    """The ID of an entry of one of these kinds, or below one; of any kind when there are none."""

    kinds: tuple[str, ...] = ()


Duration: TypeAlias = Annotated[float, Form.DURATION]
Size: TypeAlias = Annotated[int, Form.SIZE]
Name: TypeAlias = Annotated[str, Form.NOT_EMPTY]
#: A list, or one name that stands for a list of one.
Names: TypeAlias = Annotated[tuple[str, ...], Form.ONE_OR_MANY]
#: Names of groups that `security.policy` entries are in.
Groups: TypeAlias = tuple[Annotated[str, Form.GROUP], ...]

#: `file://x.lua`, relative to the YAML file, or Lua text.
LuaSource: TypeAlias = Annotated[str, Form.SOURCE]
Modules: TypeAlias = tuple[Annotated[str, Form.MODULE], ...]
Imports: TypeAlias = Mapping[str, Annotated[str, Ref(("library.lua", "function.lua"))]]

AnyRef: TypeAlias = Annotated[str, Ref()]
AwsRef: TypeAlias = Annotated[str, Ref(("config.aws",))]
DriverRef: TypeAlias = Annotated[str, Ref(("queue.driver",))]
QueueRef: TypeAlias = Annotated[str, Ref(("queue.queue",))]
FunctionRef: TypeAlias = Annotated[str, Ref(("function.lua",))]
ProcessRef: TypeAlias = Annotated[str, Ref(("process.lua",))]
PolicyRef: TypeAlias = Annotated[str, Ref(("security.policy",))]

DriverName: TypeAlias = Literal["memory", "sqlite", "redis", "amqp", "sqs"]
Options: TypeAlias = Mapping[str, object]
DriverOptions: TypeAlias = Mapping[DriverName, Options]

Positive: TypeAlias = Annotated[int, Meta(ge=1)]
NotNegative: TypeAlias = Annotated[int, Meta(ge=0)]
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]

# The ceiling keeps 64 steps of growth, the most that a backoff takes, within a float.
Factor: TypeAlias = Annotated[float, Meta(ge=1, le=100)]
