from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.observability import lines, logs
from tests.unit.observability.captured_lines import CapturedLines


@pytest.fixture
def captured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CapturedLines]:
    """What the code under test logs, in place of stdout."""
    captured_lines = CapturedLines(tmp_path / "stdout")
    monkeypatch.setattr(lines, "stdout", captured_lines.writer)
    logs.clear_request()
    yield captured_lines
    captured_lines.close()
