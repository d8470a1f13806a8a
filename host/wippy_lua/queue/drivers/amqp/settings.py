"""Where a RabbitMQ is and how to speak to it: an entry's fields, checked and free of YAML."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote, urlsplit

from gevent import ssl

from wippy_lua.errors import Kind, WippyError
from wippy_lua.registry.kinds import AmqpDriverSpec, TlsSpec

QueueType = Literal["quorum", "classic"]

LONGEST_HEARTBEAT = 65535.0  #: seconds that AMQP has room for
DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671}


@dataclass(frozen=True, slots=True)
class Settings:
    """One broker; durations in seconds, a heartbeat of 0 is none."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    vhost: str
    connection_name: str
    heartbeat: float
    connection_timeout: float
    reconnect_delay: float
    reconnect_max_delay: float
    tls: TlsSpec | None
    queue_type: QueueType

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @classmethod
    def from_spec(cls, spec: AmqpDriverSpec, name: str) -> Settings:
        """Reads the URL; raises WippyError of kind INVALID, which never shows the password."""
        try:
            url = urlsplit(spec.url)
            port = url.port or DEFAULT_PORTS.get(url.scheme, 0)
        except ValueError as error:
            raise _invalid(f"is not a URL: {error}") from None
        if url.scheme not in DEFAULT_PORTS:
            raise _invalid(f"must begin with amqp:// or amqps://, not {url.scheme}://")
        if not url.hostname:
            raise _invalid("names no host")
        path = unquote(url.path.removeprefix("/"))
        return cls(
            host=url.hostname,
            port=port,
            user="guest" if url.username is None else unquote(url.username),
            password="guest" if url.username is None else unquote(url.password or ""),
            vhost=spec.vhost or path or "/",
            connection_name=spec.connection_name or f"wippy-lua {name} {_process()}",
            heartbeat=min(spec.heartbeat, LONGEST_HEARTBEAT),
            connection_timeout=spec.connection_timeout,
            reconnect_delay=spec.reconnect_delay,
            reconnect_max_delay=max(spec.reconnect_max_delay, spec.reconnect_delay),
            tls=spec.tls or (TlsSpec() if url.scheme == "amqps" else None),
            queue_type=spec.queue_type,
        )

    def tls_context(self) -> ssl.SSLContext | None:
        """Returns how to encrypt, or None; raises WippyError of kind INVALID for unusable files."""
        if self.tls is None:
            return None
        tls = self.tls
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            if not tls.verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            elif tls.ca_file is not None:
                context.load_verify_locations(tls.ca_file)
            else:
                context.load_default_certs()
            if tls.cert_file is not None:
                context.load_cert_chain(tls.cert_file, tls.key_file)
        except OSError as error:
            raise WippyError(f"tls: {error}", kind=Kind.INVALID, retryable=False) from error
        return context


def _process() -> str:
    return f"{socket.gethostname()}/{os.getpid()}"


def _invalid(problem: str) -> WippyError:
    return WippyError(f"the url of an amqp driver {problem}", kind=Kind.INVALID, retryable=False)
