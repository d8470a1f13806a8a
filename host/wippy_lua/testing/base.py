"""What the conformance tests of drivers stand on: settings, fixtures and makers of queues."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar, TypeAlias
from uuid import uuid4

import gevent
import pytest

from wippy_lua.errors import Kind, WippyError
from wippy_lua.queue.config import QueueConfig
from wippy_lua.queue.driver import Capabilities, Driver
from wippy_lua.testing.probe import Patience, QueueProbe

Test: TypeAlias = Callable[[Any, Driver], None]


def needs_bounds(test: Test) -> Test:
    """Makes a test of bounded queues one of their refusal where the driver has none."""

    @wraps(test)
    def wrapper(suite: SuiteBase, driver: Driver) -> None:
        if suite.capabilities.max_length:
            test(suite, driver)
        else:
            assert suite.refuses_a_bound(driver)

    return wrapper


class SuiteBase:
    """Defaults are the strict ones; a driver's test class confesses what is missing."""

    capabilities: ClassVar[Capabilities] = Capabilities()
    #: `published_at` and the ID arrive as they were published.
    preserves_identity: ClassVar[bool] = True
    #: Messages are still there when the driver was stopped and started.
    survives_restart: ClassVar[bool] = True
    #: `purge` reaches delayed messages, too.
    purges_delayed: ClassVar[bool] = True
    #: What has expired is not counted any more, though nobody has tried to deliver it.
    counts_without_expired: ClassVar[bool] = True
    #: Bytes of the largest body that is tried.
    largest_body: ClassVar[int] = 1024 * 1024
    #: Seconds after which an unsettled delivery comes back; 0 when there is no lease.
    lease: ClassVar[float] = 0.0
    #: Seconds: the shortest delay, and the step of longer ones.
    unit: ClassVar[float] = 1.0
    patience: ClassVar[Patience] = Patience()

    @pytest.fixture
    def driver(self) -> Driver:
        raise NotImplementedError("a subclass of DriverSuite gives a fixture `driver`, started")

    @pytest.fixture
    def queue(self, driver: Driver) -> QueueProbe:
        return self.declare(driver)

    def advance(self, seconds: float) -> None:
        """Lets time pass for the driver."""
        gevent.sleep(seconds)

    def config(self, **options: object) -> QueueConfig:
        """Makes a queue that no other test has, with these driver options."""
        name = f"q{uuid4().hex}"
        return QueueConfig(
            id=f"test:{name}", driver="test:driver", queue_name=name, options=options
        )

    def declare(self, driver: Driver, **options: object) -> QueueProbe:
        config = self.config(**options)
        driver.declare_queue(config)
        return QueueProbe(driver, config.id, self.patience)

    def bounded(self, driver: Driver, max_length: int) -> QueueProbe:
        return self.declare(driver, max_length=max_length)

    def refuses_a_bound(self, driver: Driver) -> bool:
        """Tells whether the driver says that it has no bounded queues."""
        with pytest.raises(WippyError) as caught:
            self.declare(driver, max_length=1)
        return caught.value.kind is Kind.INVALID

    def refuses(self, queue: QueueProbe, *, delay: float = 0.0, ttl: float | None = None) -> bool:
        """Tells whether the driver says that it cannot do this."""
        with pytest.raises(WippyError) as caught:
            queue.publish(b"m", delay=delay, ttl=ttl)
        return caught.value.kind is Kind.INVALID and queue.shows(ready=0)
