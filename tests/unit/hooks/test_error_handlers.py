from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from werkzeug import exceptions

from app.core.errors import BffError, StoreUnavailableError
from app.hooks.error_handlers import to_bff_error
from tests.unit.hooks.small_app import ORIGIN, SECRET
from tests.unit.observability.captured_lines import CapturedLines

NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Accept": "text/html"}


def test_a_refusal_is_a_problem_document(client: FlaskClient) -> None:
    answer = client.get("/auth/denied")

    assert answer.status_code == 403
    assert answer.mimetype == "application/problem+json"
    assert answer.headers["X-BFF-Error"] == "access_denied"
    assert answer.json == {
        "type": "urn:bff:error:access_denied",
        "title": "You may not do this.",
        "status": 403,
        "detail": "Not you.",
        "code": "access_denied",
        "request_id": answer.headers["X-Correlation-ID"],
        "reason": "no such role",
    }


def test_a_401_tells_where_to_log_in(client: FlaskClient) -> None:
    answer = client.get("/api/auth/session")

    assert answer.status_code == 401
    assert answer.json is not None
    assert answer.json["login_url"] == f"{ORIGIN}/auth/login"


def test_what_nobody_foresaw_is_500_and_tells_nothing(client: FlaskClient, captured: CapturedLines) -> None:
    answer = client.get("/auth/crash")

    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (500, "internal_error")
    assert "KeyError" not in answer.text
    (event,) = captured.of("event")
    assert event["level"] == "error"
    assert event["exception"][0]["type"] == "KeyError"
    assert event["exception"][0]["frames"][-1].endswith(" crash")
    assert SECRET not in answer.text + captured.text


def test_an_internal_reason_is_logged_and_not_answered(client: FlaskClient, captured: CapturedLines) -> None:
    answer = client.get("/auth/store-is-down")

    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (503, "store_unavailable")
    assert "disk gone" not in answer.text
    (event,) = captured.of("event")
    assert (event["error_code"], event["reason"]) == ("store_unavailable", "disk gone")


def test_a_store_that_does_not_answer_is_counted(app: Flask, client: FlaskClient) -> None:
    client.get("/auth/store-is-down")

    assert b"bff_store_errors_total 1.0" in app.extensions["bff"].metrics.render()[1]


def test_an_ordinary_refusal_is_no_event(client: FlaskClient, captured: CapturedLines) -> None:
    client.get("/auth/nothing")

    assert captured.of("event") == []


class BrokenSessions:
    """A session interface whose store is down at the moment it is asked."""

    def __init__(self, app: Flask, *, opening: bool) -> None:
        self._real: Any = app.session_interface
        self._opening = opening

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def open_session(self, *arguments: Any) -> Any:
        if self._opening:
            raise StoreUnavailableError
        return self._real.open_session(*arguments)

    def save_session(self, *_: Any) -> None:
        if not self._opening:
            raise StoreUnavailableError


@pytest.mark.parametrize("opening", [True, False], ids=["opening", "saving"])
def test_an_error_outside_of_views_is_answered_as_what_it_is(
    app: Flask, client: FlaskClient, captured: CapturedLines, opening: bool
) -> None:
    app.session_interface = BrokenSessions(app, opening=opening)  # type: ignore[assignment]
    answer = client.get("/auth/fine")
    answer.close()

    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (503, "store_unavailable")
    assert answer.headers["X-Correlation-ID"]
    assert [record["status"] for record in captured.of("access")] == [503]


@pytest.mark.parametrize(
    ("raised", "status", "code"),
    [
        (exceptions.NotFound(), 404, "route_not_found"),
        (exceptions.MethodNotAllowed(valid_methods=["POST", "GET"]), 405, "method_not_allowed"),
        (exceptions.RequestEntityTooLarge(), 413, "body_too_large"),
        (exceptions.RequestURITooLarge(), 414, "uri_too_long"),
        (exceptions.RequestHeaderFieldsTooLarge(), 431, "headers_too_large"),
        (exceptions.BadRequest(), 400, "bad_request"),
        (exceptions.UnsupportedMediaType(), 400, "bad_request"),
        (exceptions.BadRequestKeyError("code"), 400, "bad_request"),
        (exceptions.ClientDisconnected(), 400, "bad_request"),
        (exceptions.InternalServerError(), 500, "internal_error"),
        (exceptions.InternalServerError(original_exception=ValueError("x")), 500, "internal_error"),
        (exceptions.ServiceUnavailable(), 500, "internal_error"),
        (exceptions.HTTPException(), 500, "internal_error"),
        (exceptions.HTTPException(response=Response(status=302)), 500, "internal_error"),
        (ValueError("x"), 500, "internal_error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_every_error_becomes_one_of_ours(raised: Exception, status: int, code: str) -> None:
    error = to_bff_error(raised)

    assert (error.status, error.code) == (status, code)
    if status == 405:
        assert error.headers == (("Allow", "GET, POST"),)


@pytest.fixture
def with_pages(app: Flask) -> Callable[[BffError, str], str]:
    def render(error: BffError, request_id: str) -> str:
        return f"<h1>{error.code} {request_id}</h1>"

    app.extensions["bff_problem_page"] = render
    return render


@pytest.mark.usefixtures("with_pages")
def test_a_browser_that_shows_the_answer_gets_a_page(client: FlaskClient) -> None:
    answer = client.get("/auth/denied", headers=NAVIGATION)

    assert answer.status_code == 403
    assert answer.mimetype == "text/html"
    assert answer.text == f"<h1>access_denied {answer.headers['X-Correlation-ID']}</h1>"
    assert answer.headers["X-BFF-Error"] == "access_denied"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.usefixtures("with_pages")
@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/auth/denied", {"Accept": "application/json"}),
        ("/auth/denied", {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Accept": "text/html"}),
        ("/api/auth/session", NAVIGATION),
        ("/api/me/sessions", NAVIGATION),
        ("/metrics", NAVIGATION),
    ],
)
def test_a_program_never_gets_a_page(client: FlaskClient, path: str, headers: dict[str, str]) -> None:
    assert client.get(path, headers=headers).mimetype == "application/problem+json"
