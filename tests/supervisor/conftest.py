from __future__ import annotations

from collections.abc import Iterator

import gevent
import pytest

from tests.supervisor.fakes import Rig, settle


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture(autouse=True)
def _no_greenlet_dies_unnoticed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails a test in which an error ended a greenlet that nobody waits for."""
    errors: list[object] = []

    def record(*args: object) -> None:
        errors.append(args[2])

    monkeypatch.setattr(type(gevent.get_hub()), "handle_error", staticmethod(record))
    yield
    settle()
    assert errors == []
