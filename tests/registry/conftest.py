from __future__ import annotations

from pathlib import Path

import pytest

from tests.registry.apps import App


@pytest.fixture
def app(tmp_path: Path) -> App:
    folder = tmp_path / "app"
    folder.mkdir()
    return App(folder)
