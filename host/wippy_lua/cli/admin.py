"""The admin server of `wippy-lua run`: whether it may serve where it is asked to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from wippy_lua.host import Host

if TYPE_CHECKING:
    from wippy_lua.admin.address import Address
    from wippy_lua.admin.server import AdminServer


def admin_server(host: Host, address: Address, token_file: Path | None) -> AdminServer:
    """Makes the server; raises ValueError where it must not or cannot serve."""
    from wippy_lua.admin.guard import TOKEN_VARIABLE, find_token
    from wippy_lua.admin.server import AdminServer

    try:
        token = find_token(os.environ, token_file)
    except OSError as error:
        raise ValueError(f"--admin-token-file {token_file}: {error.strerror}") from error
    if token is None and not address.is_loopback:
        raise ValueError(
            f"--admin {address.host}: others can reach this address, so a token is needed: set"
            f" {TOKEN_VARIABLE} or give --admin-token-file, or listen on 127.0.0.1"
        )
    return AdminServer(host.admin_app(token=token), address)
