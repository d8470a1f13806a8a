"""The conformance suite on the SQS driver."""

from __future__ import annotations

import pytest

from tests.drivers.sqs.declaring import LEASE, Start
from wippy_lua.queue.driver import Driver
from wippy_lua.queue.drivers.sqs.driver import CAPABILITIES
from wippy_lua.testing import DriverSuite

pytestmark = pytest.mark.network


class TestConformance(DriverSuite):
    capabilities = CAPABILITIES
    purges_delayed = False
    counts_without_expired = False
    largest_body = 700 * 1024  # As base64 it has to fit into 1 MiB.
    lease = float(LEASE)

    @pytest.fixture
    def driver(self, start: Start) -> Driver:
        return start()
