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

FORGET = "/admin/pdp/forget"
TOKEN = "f00dfeed" * 8
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


class Operator:
    """Calls on the internal listener, as gunicorn shows them."""

    def __init__(self, app: Flask, connection: socket.socket) -> None:
        self.app = app
        self._client = app.test_client()
        self._connection = connection

    def open(self, path: str, **arguments: Any) -> Any:
        return self._client.open(path, environ_overrides={"gunicorn.socket": self._connection}, **arguments)


@pytest.fixture
def has_token() -> bool:
    return True


@pytest.fixture
def operator(tmp_path: Path, captured: CapturedLines, has_token: bool) -> Iterator[Operator]:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as connection,
    ):
        (tmp_path / "admin.token").write_text(TOKEN)
        app = build_app(
            tmp_path,
            sections={"admin": {"token_file": str(tmp_path / "admin.token")}} if has_token else {},
            internal_bind=f"127.0.0.1:{listener.getsockname()[1]}",
        )
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
    [
        ("POST", "/metrics", 405),
        ("OPTIONS", "/metrics", 405),
        ("GET", "/admin", 404),
        ("GET", "/admin/keys", 404),
        ("GET", FORGET, 405),
    ],
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


def test_operators_have_every_decision_forgotten(operator: Operator, captured: CapturedLines) -> None:
    epoch = operator.app.extensions["bff"].authorization.epoch
    before = epoch.get()
    answer = operator.open(FORGET, method="POST", headers=AUTHORIZED, json={"whatever": "a decision point says"})

    assert (answer.status_code, answer.data) == (204, b"")
    assert epoch.get() != before
    [told] = [line for line in captured.of("audit") if line["event"] == "decisions.dropped"]
    assert told["by"] == "admin"


@pytest.mark.parametrize("authorization", ["", "Bearer", f"Bearer {TOKEN}0", f"Basic {TOKEN}"])
def test_without_the_token_nothing_is_forgotten(operator: Operator, authorization: str) -> None:
    epoch = operator.app.extensions["bff"].authorization.epoch
    before = epoch.get()
    answer = operator.open(FORGET, method="POST", headers={"Authorization": authorization} if authorization else {})

    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (401, "token_invalid")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    assert epoch.get() == before


@pytest.mark.parametrize("has_token", [False])
def test_where_the_settings_name_no_token_the_refusal_says_so(operator: Operator) -> None:
    answer = operator.open(FORGET, method="POST", headers=AUTHORIZED)

    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (403, "access_denied")
    assert "admin.token_file" in answer.json["detail"]


def test_a_store_that_is_down_is_told(operator: Operator, tmp_path: Path) -> None:
    (tmp_path / "state").rename(tmp_path / "away")
    (tmp_path / "state").write_text("")
    answer = operator.open(FORGET, method="POST", headers=AUTHORIZED)

    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (503, "store_unavailable")


def test_nobody_else_can_have_them_forgotten(client: FlaskClient) -> None:
    """O4. Not even with the token."""
    answer = client.post(FORGET, headers=AUTHORIZED)

    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (404, "route_not_found")
