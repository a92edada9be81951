from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.unit.hooks.small_app import ORIGIN, SPA_ORIGIN
from tests.unit.observability.captured_lines import CapturedLines

CALL = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}


@pytest.mark.parametrize(
    "path", ["/auth/fine", "/auth/denied", "/auth/crash", "/health/live", "/api/auth/session", "/auth/nothing"]
)
def test_every_answer_of_ours_is_private_and_is_not_sniffed(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers

    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
    assert len(headers.getlist("X-Correlation-ID")) == 1
    assert len({name for name, _ in headers}) == len(headers)


def test_a_page_without_a_policy_gets_one_that_allows_nothing(client: FlaskClient) -> None:
    policy = client.get("/auth/fine").headers["Content-Security-Policy"]

    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "Content-Security-Policy" not in client.get("/health/live").headers


def test_what_a_view_decided_stays(client: FlaskClient) -> None:
    headers = client.get("/auth/own-headers").headers

    assert headers["Content-Security-Policy"] == "default-src 'self'"
    assert headers["Cache-Control"] == "public, max-age=5"
    assert headers["Referrer-Policy"] == "no-referrer"


def test_an_answer_of_a_backend_is_left_alone(client: FlaskClient) -> None:
    headers = client.get("/auth/proxied").headers

    assert {name for name, _ in headers} == {"Content-Type", "Content-Length"}


def test_an_answer_that_looked_at_no_session_does_not_vary_by_cookie(client: FlaskClient) -> None:
    assert "Cookie" not in client.get("/.well-known/jwks.json").headers.get("Vary", "")
    assert "Cookie" in client.get("/api/auth/session").headers["Vary"]


PREFLIGHT = {"Origin": SPA_ORIGIN, "Access-Control-Request-Method": "GET"}


@pytest.mark.parametrize(
    ("path", "requested", "allowed"),
    [
        ("/api/auth/session", "GET", "GET, HEAD"),
        ("/auth/session", "GET", "GET, HEAD"),
        ("/api/auth/session/refresh", "POST", "POST"),
        ("/auth/logout", "POST", "GET, HEAD, POST"),
        ("/api/me/sessions/abc", "DELETE", "DELETE"),
        ("/access/v1/evaluation", "POST", "POST"),
    ],
)
def test_a_preflight_from_an_allowed_origin_is_answered(
    client: FlaskClient, path: str, requested: str, allowed: str
) -> None:
    answer = client.options(
        path,
        headers={
            **PREFLIGHT,
            "Access-Control-Request-Method": requested,
            "Access-Control-Request-Headers": "x-csrf-token, content-type",
        },
    )

    assert answer.status_code == 204
    assert answer.data == b""
    assert answer.headers["Access-Control-Allow-Origin"] == SPA_ORIGIN
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert answer.headers["Access-Control-Allow-Methods"] == allowed
    assert answer.headers["Access-Control-Allow-Headers"] == "x-csrf-token, content-type"
    assert "Origin" in answer.headers["Vary"]
    assert "Content-Type" not in answer.headers


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "https://spa.example.com.evil.example", "http://spa.example.com"]
)
def test_a_preflight_from_elsewhere_is_refused(client: FlaskClient, origin: str) -> None:
    answer = client.options("/api/auth/session", headers={**PREFLIGHT, "Origin": origin})

    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (403, "csrf_failed")
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/auth/login", PREFLIGHT),
        ("/health/live", PREFLIGHT),
        ("/auth/logout", PREFLIGHT),
        ("/api/auth/session", {"Origin": SPA_ORIGIN}),
        ("/api/auth/session", {"Access-Control-Request-Method": "GET"}),
    ],
)
def test_other_options_calls_are_405(client: FlaskClient, path: str, headers: dict[str, str]) -> None:
    answer = client.options(path, headers=headers)

    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (405, "method_not_allowed")


def test_an_allowed_origin_may_read_answers_refusals_included(client: FlaskClient) -> None:
    answer = client.get("/api/auth/session", headers={"Origin": SPA_ORIGIN, "Sec-Fetch-Site": "cross-site", **CALL})

    # `Sec-Fetch-Site: cross-site` is refused whatever the origin (DESIGN of the cross-site rule), and readably so.
    assert answer.status_code == 403
    assert answer.headers["Access-Control-Allow-Origin"] == SPA_ORIGIN

    answer = client.get("/api/auth/session", headers={"Origin": SPA_ORIGIN, "Sec-Fetch-Site": "same-site", **CALL})
    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == SPA_ORIGIN
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert "X-BFF-Error" in answer.headers["Access-Control-Expose-Headers"]
    assert {"Origin", "Cookie"} <= {name.strip() for name in answer.headers["Vary"].split(",")}


@pytest.mark.parametrize("path", ["/auth/logout", "/auth/fine", "/health/live"])
def test_other_endpoints_of_ours_are_no_business_of_another_origin(client: FlaskClient, path: str) -> None:
    answer = client.get(path, headers={"Origin": SPA_ORIGIN})

    assert answer.status_code == 200
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Origin": "https://evil.example"}, id="B2"),
        pytest.param({"Origin": "null"}, id="B2-null"),
        pytest.param({"Sec-Fetch-Site": "cross-site", **CALL}, id="B1-cross-site"),
        pytest.param({"Sec-Fetch-Site": "same-site", **CALL}, id="B1-sibling"),
        pytest.param(
            {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": "cross-site"}, id="frame"
        ),
    ],
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/auth/session"),
        ("GET", "/auth/session"),
        ("POST", "/api/auth/session/refresh"),
        ("HEAD", "/api/auth/session"),
    ],
)
def test_a_call_from_another_site_is_refused(
    client: FlaskClient, captured: CapturedLines, method: str, path: str, headers: dict[str, Any]
) -> None:
    answer = client.open(path, method=method, headers=headers)

    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (403, "csrf_failed")
    assert [record["event"] for record in captured.of("audit")][-1] == "csrf.refused"


@pytest.mark.parametrize(
    "headers", [{}, {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin", **CALL}, {"Sec-Fetch-Site": "none", **CALL}]
)
def test_a_call_from_our_own_pages_passes(client: FlaskClient, headers: dict[str, str]) -> None:
    assert client.get("/api/auth/session", headers=headers).headers["X-BFF-Error"] == "not_authenticated"


@pytest.mark.parametrize("path", ["/api/auth/session", "/auth/session"])
def test_what_is_for_scripts_cannot_be_opened_as_a_page(client: FlaskClient, path: str) -> None:
    answer = client.get(path, headers={"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"})

    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (403, "csrf_failed")
