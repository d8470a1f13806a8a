from __future__ import annotations

import pytest

from tests.supervisor.fakes import Rig


@pytest.fixture
def rig() -> Rig:
    return Rig()
