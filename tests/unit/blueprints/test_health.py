from __future__ import annotations

import base64
import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.blueprints import health
from app.core.errors import PdpUnavailableError
from app.services.key_store.factory import FILE_NAME
from tests.support.authzen_pdp import AuthzenPdp
from tests.support.processes import free_port
from tests.unit.hooks.small_app import build_app
from tests.unit.observability.captured_lines import CapturedLines

QUESTION = b'{"subject":{"type":"user","id":"a"},"action":{"name":"read"},"resource":{"type":"f","id":"1"}}'
READY = {"status": "ok", "live": "ok", "parts": {"store": "ok", "keys": "ok", "idp": "unknown"}}


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock of the probes; tests turn it."""
    hands = [1000.0]
    monkeypatch.setattr(health.time, "monotonic", lambda: hands[0])  # type: ignore[attr-defined]
    return hands


def break_store(tmp_path: Path) -> None:
    """Takes the folder away and puts a file in its place, which no permission of the test's user overrides."""
    (tmp_path / "state").rename(tmp_path / "state-away")
    (tmp_path / "state").write_text("")


def mend_store(tmp_path: Path) -> None:
    (tmp_path / "state").unlink()
    (tmp_path / "state-away").rename(tmp_path / "state")


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
def test_with_store_and_keys_it_is_ready_also_while_the_provider_is_away(client: FlaskClient, path: str) -> None:
    """O3."""
    answer = client.get(path)

    assert (answer.status_code, answer.json) == (200, READY)
    assert "X-BFF-Error" not in answer.headers


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
def test_without_the_store_it_is_alive_and_not_ready(
    client: FlaskClient, captured: CapturedLines, tmp_path: Path, path: str
) -> None:
    break_store(tmp_path)
    answer = client.get(path)

    assert answer.status_code == 503
    assert answer.json == {**READY, "status": "unavailable", "parts": {**READY["parts"], "store": "unavailable"}}  # type: ignore[dict-item]
    assert client.get("/health/live").status_code == 200
    assert captured.of("event")[0]["event"] == "the session store does not answer"


def test_keys_that_are_held_but_cannot_be_read_again_are_told(app: Flask, client: FlaskClient, tmp_path: Path) -> None:
    (tmp_path / "keys" / FILE_NAME).write_bytes(b"{")
    app.extensions["bff"].key_store.follow()
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json) == (200, {**READY, "parts": {**READY["parts"], "keys": "held"}})  # type: ignore[dict-item]


def test_without_keys_it_is_not_ready_and_publishes_none(tmp_path: Path) -> None:
    """O3: Redis, where the keys are, is down at the start."""
    ring = tmp_path / "ring"
    ring.touch(0o600)
    ring.write_bytes(base64.b64encode(bytes(range(32))))
    redis = {"store": "redis", "redis_url": f"redis://127.0.0.1:{free_port()}", "redis": {"retries": 0}}
    app = build_app(
        tmp_path,
        sections={"session": redis, "tokens": {"data_key_file": str(ring)}, "keys": {"store": "redis"}},
    )
    answer = app.test_client().get("/health/ready")
    assert answer.status_code == 503
    assert answer.json is not None
    assert answer.json["parts"]["keys"] == "unavailable"
    jwks = app.test_client().get("/.well-known/jwks.json", base_url="https://app.example.com")
    assert (jwks.status_code, jwks.headers["X-BFF-Error"]) == (503, "store_unavailable")
    assert jwks.headers["Cache-Control"] == "no-store"


def test_it_heals_by_itself(client: FlaskClient, tmp_path: Path, now: list[float]) -> None:
    break_store(tmp_path)
    assert client.get("/health/ready").status_code == 503
    mend_store(tmp_path)
    now[0] += 1.0
    assert client.get("/health/ready").status_code == 200


def test_however_often_it_is_asked_the_store_is_tried_once_a_second(
    client: FlaskClient, tmp_path: Path, now: list[float]
) -> None:
    assert client.get("/health/ready").status_code == 200
    break_store(tmp_path)
    now[0] += 0.9
    assert client.get("/health/ready").status_code == 200
    now[0] += 0.1
    assert client.get("/health/ready").status_code == 503


def test_a_failing_store_is_counted(app: Flask, client: FlaskClient, tmp_path: Path) -> None:
    break_store(tmp_path)
    client.get("/health/ready")

    assert b"bff_store_errors_total 1.0" in app.extensions["bff"].metrics.render()[1]


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_nothing_of_the_inside_is_told(client: FlaskClient, tmp_path: Path, path: str) -> None:
    break_store(tmp_path)
    answer = client.get(path)

    assert answer.mimetype == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert not any(
        word in answer.text for word in (str(tmp_path), "op.example.com", "state", "Error", str(os.getpid()))
    )


@pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
def test_a_probe_may_ask_by_head(client: FlaskClient, path: str) -> None:
    answer = client.head(path)

    assert answer.status_code == 200
    assert answer.data == b""


def test_two_applications_do_not_share_what_they_know(client: FlaskClient, tmp_path: Path, now: Any) -> None:
    other = build_app(tmp_path / "other")
    assert other.test_client().get("/health/ready").status_code == 200
    break_store(tmp_path)
    assert client.get("/health/ready").status_code == 503


def write_pdp_file(tmp_path: Path, url: str) -> None:
    (tmp_path / "config").mkdir(parents=True, exist_ok=True)
    pdp = {"connection": {"base_url": url, "timeout": 1}, "retry": {"max_retries": 0}}
    (tmp_path / "config" / "pdp.yaml").write_text(json.dumps(pdp))


def test_the_decision_point_is_reported_from_what_the_last_question_showed(
    tmp_path: Path, captured: CapturedLines
) -> None:
    with AuthzenPdp() as pdp:
        write_pdp_file(tmp_path, pdp.url)
        app = build_app(tmp_path)
        point = app.extensions["bff"].authorization.client

        def ask() -> str:
            with contextlib.suppress(PdpUnavailableError):
                point.evaluate(QUESTION, "id")
            answer = app.test_client().get("/health/ready")
            assert answer.status_code == 200, "it is reported, not required"
            return str(answer.json["parts"]["pdp"])  # type: ignore[index]

        assert app.test_client().get("/health").json["parts"]["pdp"] == "unknown"  # type: ignore[index]
        assert ask() == "ok"
        for answer in [(200, "text/html", b"<p>"), (500, "text/plain", b""), (401, "text/plain", b"")]:
            pdp.answer = answer
            assert ask() == "unavailable"
            pdp.answer = None
            assert ask() == "ok"
        pdp.answer = (400, "text/plain", b"it did not like this one question")
        assert ask() == "ok"


def test_enforcement_that_is_off_is_told_and_counted(tmp_path: Path, captured: CapturedLines) -> None:
    app = build_app(tmp_path, sections={"pdp": {"enabled": False}})
    answer = app.test_client().get("/health")
    assert answer.json == {**READY, "parts": {**READY["parts"], "pdp": "off"}}  # type: ignore[dict-item]
    assert b"bff_enforcement_off_workers 1.0" in app.extensions["bff"].metrics.render()[1]


def test_enforcement_that_is_on_is_counted_as_such(app: Flask) -> None:
    assert b"bff_enforcement_off_workers 0.0" in app.extensions["bff"].metrics.render()[1]
