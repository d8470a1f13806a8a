"""Ports for servers that are told theirs: free now, and still free when they come to listen."""

from __future__ import annotations

import random
import socket

#: Below the ports that the kernel gives to clients. One of those may be taken, by any connection of
#: any process, in the seconds that a broker needs to come up or is down for.
PORTS = range(15_000, 32_000)


def free_port() -> int:
    """Returns a TCP port of the loopback interface that nobody uses just now."""
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port is free")
