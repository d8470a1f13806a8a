"""Who may ask: those who know the token; without one, programs of this machine.

A web page that somebody looks at runs on this machine, too. So without a token a request has to
name this machine as its host, which a page cannot make it do by a name of its own whose address
changes (DNS rebinding); and what changes something has to be JSON, which a page cannot send to
others without asking first.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from pathlib import Path

from wippy_lua.admin.address import is_loopback
from wippy_lua.admin.exchange import Refusal, Request
from wippy_lua.errors import Kind

TOKEN_VARIABLE = "WIPPY_LUA_ADMIN_TOKEN"  # noqa: S105 - the name of one, no token
BEARER = "bearer "
#: What browsers say of requests that a page of somebody else makes.
FOREIGN_SITES = ("cross-site", "same-site")


def find_token(env: Mapping[str, str], file: Path | None) -> str | None:
    """Returns the token of the file, else that of the environment; None when there is none.

    Raises ValueError for one that cannot be used, OSError for a file that cannot be read.
    """
    source = TOKEN_VARIABLE if file is None else str(file)
    text = env.get(TOKEN_VARIABLE) if file is None else file.read_text(encoding="utf-8")
    if text is None:
        return None
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError(f"{source}: a token is one word of visible ASCII characters")
    return token


class Guard:
    """Decides by a request's head whether it is served."""

    def __init__(self, token: str | None) -> None:
        self._token = None if token is None else token.encode()

    def check(self, request: Request) -> None:
        """Raises Refusal for what is not to be served."""
        if self._token is None:
            _check_is_local(request)
        elif not hmac.compare_digest(_token_of(request), self._token):
            raise Refusal(
                401,
                "the admin token is missing or wrong: send it as Authorization: Bearer TOKEN",
                kind=Kind.PERMISSION_DENIED,
                headers=(("WWW-Authenticate", "Bearer"),),
            )
        if request.header("Sec-Fetch-Site") in FOREIGN_SITES:
            raise forbidden("the request comes from a page of another site")
        if request.method == "POST" and request.content_type != "application/json":
            raise Refusal(415, "send Content-Type: application/json")


def _token_of(request: Request) -> bytes:
    value = request.header("Authorization")
    if value[: len(BEARER)].lower() != BEARER:
        return b""
    return value[len(BEARER) :].strip().encode("latin-1", "replace")


def _check_is_local(request: Request) -> None:
    if request.remote and not is_loopback(request.remote):
        raise forbidden(f"without a token only this machine is served; set {TOKEN_VARIABLE}")
    if not is_loopback(_host_of(request.header("Host"))):
        raise forbidden(
            "the Host header does not name this machine: ask for 127.0.0.1 or localhost,"
            f" or set {TOKEN_VARIABLE}"
        )


def forbidden(message: str) -> Refusal:
    return Refusal(403, message, kind=Kind.PERMISSION_DENIED)


def _host_of(header: str) -> str:
    """Returns the host of a Host header, without its port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]
