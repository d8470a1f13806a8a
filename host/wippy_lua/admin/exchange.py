"""A request and its response, between WSGI and those who answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import parse_qs

import msgspec

from wippy_lua.errors import Kind, WippyError
from wippy_lua.operations.fault import Fault

T = TypeVar("T")
Header: TypeAlias = tuple[str, str]

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"

#: Bytes of a request's body: the largest message that queues take by default, in base64.
MAX_BODY: Final = 24 * 1024 * 1024

#: HTTP's word for each kind of error, whatever raised it.
STATUS_OF_KIND: Final[Mapping[Kind, int]] = {
    Kind.NOT_FOUND: 404,
    Kind.ALREADY_EXISTS: 409,
    Kind.INVALID: 400,
    Kind.PERMISSION_DENIED: 403,
    Kind.UNAVAILABLE: 503,
    Kind.INTERNAL: 500,
    Kind.CANCELED: 503,
    Kind.CONFLICT: 409,
    Kind.TIMEOUT: 504,
    Kind.RATE_LIMITED: 429,
    Kind.UNKNOWN: 500,
}


class Refusal(WippyError):
    """A request that is not served, with the status that says so."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: Kind = Kind.INVALID,
        headers: Sequence[Header] = (),
    ) -> None:
        super().__init__(message, kind=kind, retryable=False)
        self.status = status
        self.headers = tuple(headers)


@dataclass(frozen=True, slots=True)
class Response:
    """What goes back. A `body` in pieces is sent piece by piece, and closed when that ends."""

    status: int
    body: bytes | Iterator[bytes]
    content_type: str = JSON
    headers: Sequence[Header] = ()

    @property
    def status_line(self) -> str:
        return f"{self.status} {HTTPStatus(self.status).phrase}"


class Request:
    """One request, of a WSGI environment."""

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._environ = environ
        self.method: str = environ["REQUEST_METHOD"].upper()
        path: str = environ.get("PATH_INFO", "")
        # WSGI has the bytes of the path as if they were latin-1.
        self.path = path.encode("latin-1").decode("utf-8", "replace")
        #: The peer's address; "" when it is no address, as of a UNIX socket.
        self.remote: str = environ.get("REMOTE_ADDR", "")

    @property
    def content_type(self) -> str:
        """The media type of the body, without its parameters."""
        text: str = self._environ.get("CONTENT_TYPE") or ""
        return text.partition(";")[0].strip().lower()

    def header(self, name: str) -> str:
        """Returns a header's value, "" when it is not there."""
        value: str = self._environ.get(f"HTTP_{name.upper().replace('-', '_')}", "")
        return value

    def number(self, name: str, default: int) -> int:
        """Returns a number of the query; raises Refusal for what is none."""
        values = parse_qs(self._environ.get("QUERY_STRING", "")).get(name)
        if values is None:
            return default
        if len(values) > 1 or not values[0].isascii() or not values[0].isdecimal():
            raise Refusal(400, f"{name} must be one whole number, not {', '.join(values)}")
        return int(values[0])

    def json(self, kind: type[T]) -> T:
        """Reads the body, an empty one as an empty object; raises Refusal when it does not fit."""
        body = self._body() or b"{}"
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Refusal(400, f"the body does not fit: {error}") from error

    def _body(self) -> bytes:
        length = self._environ.get("CONTENT_LENGTH") or ""
        too_large = Refusal(413, f"the body is over the limit of {MAX_BODY} bytes")
        if length.isdecimal() and int(length) > MAX_BODY:
            raise too_large
        # Without a length it comes in chunks, or not at all.
        body: bytes = self._environ["wsgi.input"].read(int(length or MAX_BODY + 1))
        if len(body) > MAX_BODY:
            raise too_large
        return body


def json_response(value: object, status: int = 200) -> Response:
    return Response(status, encode(value) + b"\n")


def error_response(error: WippyError) -> Response:
    """Returns an error as JSON `{kind, message, retryable, details}`."""
    if isinstance(error, Refusal):
        return Response(error.status, encode(Fault.of(error)) + b"\n", headers=error.headers)
    return json_response(Fault.of(error), STATUS_OF_KIND[error.kind])


def encode(value: object) -> bytes:
    """Writes JSON; what JSON does not know, as text."""
    return msgspec.json.encode(value, enc_hook=str)


def error_line(error: WippyError) -> bytes:
    """Returns how a stream of lines tells that it ends early, and why."""
    return encode({"error": Fault.of(error)}) + b"\n"


def lines(first: Iterable[object], rest: Iterator[object]) -> Iterator[bytes]:
    """Yields each value as a line of JSON; an error as the last one, `{"error": ...}`.

    Closes `rest` when it is closed itself.
    """
    try:
        for value in chain(first, rest):
            yield encode(value) + b"\n"
    except WippyError as error:
        yield error_line(error)
    finally:
        close = getattr(rest, "close", None)
        if close is not None:
            close()
