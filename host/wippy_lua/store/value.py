"""Values as stores keep them: MessagePack, of which only integers are looked into."""

from __future__ import annotations

from typing import Final

import msgspec

from wippy_lua.errors import Kind, WippyError

SMALLEST: Final = -(2**63)
LARGEST: Final = 2**63 - 1

pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder().decode

#: The first bytes of integers in MessagePack: one for small ones, and a mark before others.
_INTEGERS: Final = frozenset([*range(0x80), *range(0xE0, 0x100), *range(0xCC, 0xD4)])


def integer_of(value: bytes) -> int | None:
    """Returns the integer that a packed value is; None when it is something else."""
    if value[0] not in _INTEGERS:
        return None
    number: int = _unpack(value)
    return number


def add(value: bytes | None, by: int) -> int:
    """Returns the sum of a packed value, 0 for None, and `by`; raises WippyError."""
    number = 0 if value is None else integer_of(value)
    if number is None:
        raise no_integer()
    if not SMALLEST <= number + by <= LARGEST:
        raise too_large()
    return number + by


def no_integer() -> WippyError:
    return WippyError("the key's value is no integer", kind=Kind.INVALID, retryable=False)


def too_large() -> WippyError:
    return WippyError("the sum has over 64 bits", kind=Kind.INVALID, retryable=False)
