from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.observability import lines, logs
from tests.unit.hooks.small_app import ORIGIN, build_app
from tests.unit.observability.captured_lines import CapturedLines


@pytest.fixture
def captured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CapturedLines]:
    """What the application logs, in place of stdout."""
    captured_lines = CapturedLines(tmp_path / "stdout")
    monkeypatch.setattr(lines, "stdout", captured_lines.writer)
    yield captured_lines
    logs.clear_request()
    captured_lines.close()


@pytest.fixture
def app(tmp_path: Path, captured: CapturedLines) -> Flask:
    return build_app(tmp_path)


class PublicClient(FlaskClient):
    """Calls `public_url`."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        kwargs.setdefault("base_url", ORIGIN)
        return super().open(*args, **kwargs)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    app.test_client_class = PublicClient
    return app.test_client()
