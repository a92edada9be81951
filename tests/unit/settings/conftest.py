from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.settings.config_folder import ConfigFolder


@pytest.fixture
def folder(tmp_path: Path) -> ConfigFolder:
    path = tmp_path / "config"
    path.mkdir()
    return ConfigFolder(path)
