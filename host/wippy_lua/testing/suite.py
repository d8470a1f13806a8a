"""The delivery contract as tests, for any driver."""

from __future__ import annotations

from wippy_lua.queue.driver import Driver
from wippy_lua.testing.delivery import DeliveryTests
from wippy_lua.testing.queue import QueueTests


class DriverSuite(DeliveryTests, QueueTests):
    """What every driver passes. A subclass gives a fixture `driver`, and confesses what is missing.

        class TestMyDriver(DriverSuite):
            capabilities = Capabilities(priority=False)

            @pytest.fixture
            def driver(self):
                driver = MyDriver(...)
                driver.start()
                yield driver
                driver.stop()

    Tests never assume that a delivery is there at once, nor a settlement; `patience` says how long
    they wait, in real time. `advance` sleeps unless a driver's clock can be moved.
    """

    def test_capabilities_are_those_that_it_confesses(self, driver: Driver) -> None:
        assert driver.capabilities == self.capabilities
