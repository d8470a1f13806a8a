"""The public API as a user's type checker sees it; mypy checks this file, nobody runs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_type
from wsgiref.types import WSGIApplication

from wippy_lua import CallError, ConfigError, Host, Kind, QueueNotFound, WippyError
from wippy_lua.queue.driver import Driver, QueueInfo
from wippy_lua.queue.drivers.memory.driver import MemoryDriver
from wippy_lua.supervisor.state import ServiceState
from wippy_lua.testing import VirtualClock


def charge(cents: int) -> dict[str, int]:
    """Charges."""
    return {"charged": cents}


def embed() -> None:
    """Uses every verb of a host."""
    with Host("app", modules={"billing": {"charge": charge}}) as host:
        assert_type(host, Host)
        assert_type(host.publish("app:q", {"id": 1}, {"correlation_id": "c"}, delay=5.0), str)
        assert_type(host.info("app:q"), QueueInfo)
        assert_type(host.services(), Mapping[str, ServiceState])
        host.start_service("app:consumer")
        host.stop_service("app:consumer")
        application: WSGIApplication = host.admin_app(token="t")  # noqa: S106 - a type checker's
        assert callable(application)
        host.serve_forever()
    host.stop(timeout=1.0)


def read_errors(error: WippyError | CallError | ConfigError | QueueNotFound) -> None:
    """Reads what an error tells."""
    assert_type(error.kind, Kind)
    assert_type(error.retryable, bool | None)


#: The seam: a driver that does not fit it is an error here.
DRIVER: Driver = MemoryDriver(VirtualClock())
