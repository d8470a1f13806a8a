"""Help for tests: a clock that a test moves, and what every driver must pass. Needs pytest.

`conftest.py` should call `pytest.register_assert_rewrite("wippy_lua.testing")`, so that failures
show values.
"""

from wippy_lua.testing.clock import VirtualClock
from wippy_lua.testing.probe import Inbox, QueueProbe
from wippy_lua.testing.suite import DriverSuite

__all__ = ["DriverSuite", "Inbox", "QueueProbe", "VirtualClock"]
