"""Where the admin server listens, as people write it: `127.0.0.1:9464`, `[::1]:9464`."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address

LARGEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """A host without brackets, and a port; 0 lets the system choose one."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """Reads `host:port`; raises ValueError that says what is wrong."""
        host, colon, port = text.rpartition(":")
        if not colon or not port.isdecimal() or not 0 <= int(port) <= LARGEST_PORT:
            raise ValueError(f"{text!r} is no HOST:PORT, such as 127.0.0.1:9464 or [::1]:9464")
        if host.startswith("[") and host.endswith("]"):
            return cls(host[1:-1], int(port))
        if ":" in host:
            raise ValueError(f"{text!r}: an IPv6 address is put in brackets, as [::1]:9464")
        if not host:
            raise ValueError(f"{text!r} names no address; 127.0.0.1{text} is this machine only")
        return cls(host, int(port))

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Tells whether a host, without a port or brackets, can only be this machine.

    Of names that is only `localhost`: any other may be made to mean anything.
    """
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
