"""Help for tests: a clock that a test moves, what every driver and every store must pass. Needs
pytest.

`conftest.py` should call `pytest.register_assert_rewrite("wippy_lua.testing")`, so that failures
show values.
"""

from wippy_lua.testing.clock import VirtualClock
from wippy_lua.testing.probe import Inbox, QueueProbe
from wippy_lua.testing.store import StoreSuite
from wippy_lua.testing.suite import DriverSuite

__all__ = ["DriverSuite", "Inbox", "QueueProbe", "StoreSuite", "VirtualClock"]
