"""Host side of the Lua module `json`: JSON Schema. The codec itself is in the VM."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from wippy_lua.call import Call
from wippy_lua.errors import Kind, WippyError
from wippy_lua.lua.runtime import HostFunction

if TYPE_CHECKING:
    from jsonschema_rs import Draft202012Validator, ValidationError

MAX_SCHEMA_BYTES = 256 * 1024
MAX_ERRORS = 20  #: of one document that are told
MAX_MESSAGE = 200  #: characters of each

_encode = msgspec.msgpack.Encoder().encode


class JsonModule:
    """The functions that stdlib/json.lua calls."""

    def functions(self) -> Mapping[str, HostFunction]:
        """Returns the host functions by the names that the Lua side uses."""
        return {"validate": self.validate}

    def validate(self, _call: Call, schema: bytes, data: bytes) -> bool | bytes:
        """Returns true when JSON text meets a schema, else what is wrong with it, packed."""
        if len(schema) > MAX_SCHEMA_BYTES:
            raise _invalid(f"schema must have at most {MAX_SCHEMA_BYTES} bytes, not {len(schema)}")
        errors = _told(_validator(schema).iter_errors(_decode("data", data)))
        return _encode({"errors": errors}) if errors else True


@lru_cache(maxsize=128)
def _validator(schema: bytes) -> Draft202012Validator:
    """Compiles a schema; one of the same content is not compiled again."""
    compile_schema = _compiler()
    value = _decode("schema", schema)
    if value == []:  # an empty Lua table is a list
        value = {}
    try:
        # Offline: a schema is no reason to fetch what somebody has written into it.
        return compile_schema(value, offline=True)
    except ValueError as error:
        first_line = str(error).partition("\n")[0]
        raise _invalid(f"schema: {first_line[:MAX_MESSAGE]}") from error


def _compiler() -> type[Draft202012Validator]:
    try:
        from jsonschema_rs import Draft202012Validator
    except ImportError as error:
        raise WippyError(
            "JSON Schema needs the extra 'schema': pip install 'wippy-lua[schema]'",
            kind=Kind.UNAVAILABLE,
            retryable=False,
        ) from error
    return Draft202012Validator


def _decode(what: str, text: bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = f"json: {what}: {error}"
        raise WippyError(message, kind=Kind.INTERNAL, retryable=False) from error


def _told(errors: Iterable[ValidationError]) -> list[dict[str, str]]:
    return [
        {
            "path": _pointer(error.instance_path),
            "schema_path": _pointer(error.schema_path),
            "message": error.message[:MAX_MESSAGE],
        }
        for error in islice(errors, MAX_ERRORS)
    ]


def _pointer(path: Iterable[str | int]) -> str:
    """Returns a JSON Pointer: "/items/0/name", "" for the whole."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


def _invalid(message: str) -> WippyError:
    return WippyError(message, kind=Kind.INVALID, retryable=False)
