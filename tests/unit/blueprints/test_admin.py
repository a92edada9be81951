from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.unit.hooks.small_app import build_app
from tests.unit.observability.captured_lines import CapturedLines


class Operator:
    """Calls on the internal listener, as gunicorn shows them."""

    def __init__(self, app: Flask, connection: socket.socket) -> None:
        self._client = app.test_client()
        self._connection = connection

    def open(self, path: str, **arguments: Any) -> Any:
        return self._client.open(path, environ_overrides={"gunicorn.socket": self._connection}, **arguments)


@pytest.fixture
def operator(tmp_path: Path, captured: CapturedLines) -> Iterator[Operator]:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as connection,
    ):
        app = build_app(tmp_path, internal_bind=f"127.0.0.1:{listener.getsockname()[1]}")
        yield Operator(app, connection)


def test_operators_see_the_metrics(operator: Operator) -> None:
    operator.open("/health/live").close()
    answer = operator.open("/metrics")

    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    assert 'bff_calls_total{method="GET",route="health.live",status="200"} 1.0' in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_scraper_may_ask_for_openmetrics(operator: Operator) -> None:
    answer = operator.open("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})

    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/metrics", 405), ("OPTIONS", "/metrics", 405), ("GET", "/admin", 404), ("GET", "/admin/keys", 404)],
)
def test_what_is_not_built_is_not_there_for_operators_either(
    operator: Operator, method: str, path: str, status: int
) -> None:
    assert operator.open(path, method=method).status_code == status


def test_operators_may_use_any_host(operator: Operator) -> None:
    assert operator.open("/metrics", headers={"Host": "10.0.0.1:9000"}).status_code == 200


def test_nobody_else_sees_them(client: FlaskClient) -> None:
    """O4. That this looks like a path that does not exist is tested with the hooks."""
    answer = client.get("/metrics")

    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (404, "route_not_found")
