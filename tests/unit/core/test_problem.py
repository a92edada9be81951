"""RFC 9457: the form of every refusal, and the closed list of codes."""

from __future__ import annotations

import json

import pytest

from app.core import errors
from app.core.errors import BffError
from app.core.problem import build_problem

CODES = {
    "ambiguous_path": 400,
    "bad_request": 400,
    "unknown_host": 400,
    "unsafe_return_to": 400,
    "login_state_invalid": 400,
    "login_failed": 400,
    "not_authenticated": 401,
    "session_expired": 401,
    "insufficient_user_authentication": 401,
    "token_invalid": 401,
    "access_denied": 403,
    "unmapped": 403,
    "csrf_failed": 403,
    "route_not_found": 404,
    "method_not_allowed": 405,
    "body_too_large": 413,
    "uri_too_long": 414,
    "rate_limited": 429,
    "headers_too_large": 431,
    "internal_error": 500,
    "upstream_unreachable": 502,
    "upstream_bad_response": 502,
    "service_token_unavailable": 503,
    "circuit_open": 503,
    "upstream_busy": 503,
    "store_unavailable": 503,
    "idp_unavailable": 503,
    "pdp_unavailable": 503,
    "upstream_timeout": 504,
}


def make_errors() -> list[BffError]:
    special = [
        errors.MethodNotAllowedError(["GET", "HEAD"]),
        errors.RateLimitedError(retry_after_seconds=7),
        errors.CircuitOpenError(retry_after_seconds=30),
    ]
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BffError)]
    left_out = {BffError, *map(type, special)}
    return special + [kind() for kind in kinds if kind not in left_out]


def build(error: BffError, login_url: str | None = None) -> tuple[int, dict[str, str], dict[str, object]]:
    status, lines, body = build_problem(error, request_id="req-1", login_url=login_url)
    assert len({name.lower() for name, _ in lines}) == len(lines)
    return status, dict(lines), json.loads(body)


def test_the_list_of_codes_is_closed() -> None:
    assert {error.code: error.status for error in make_errors()} == CODES
    assert len(make_errors()) == len(CODES)


@pytest.mark.parametrize("error", make_errors(), ids=lambda error: error.code)
def test_every_refusal_has_the_same_form(error: BffError) -> None:
    status, headers, problem = build(error)
    assert status == CODES[error.code]
    assert problem == {
        "type": f"urn:bff:error:{error.code}",
        "title": error.title,
        "status": status,
        "detail": error.detail,
        "code": error.code,
        "request_id": "req-1",
    }
    assert headers["Content-Type"] == "application/problem+json"
    assert headers["X-BFF-Error"] == error.code
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


def test_extra_header_lines_are_answered() -> None:
    assert build(errors.MethodNotAllowedError(["GET", "HEAD"]))[1]["Allow"] == "GET, HEAD"
    assert build(errors.RateLimitedError(retry_after_seconds=7))[1]["Retry-After"] == "7"
    assert build(errors.CircuitOpenError(retry_after_seconds=30))[1]["Retry-After"] == "30"


@pytest.mark.parametrize("error", make_errors(), ids=lambda error: error.code)
def test_the_login_url_is_told_with_a_401_and_with_nothing_else(error: BffError) -> None:
    problem = build(error, login_url="https://app.example.com/auth/login")[2]
    assert problem.get("login_url") == ("https://app.example.com/auth/login" if error.status == 401 else None)


def test_the_login_url_of_a_step_up_asks_for_what_is_missing() -> None:
    error = errors.InsufficientUserAuthenticationError(max_age_seconds=300, acr_values=("urn:a:1", "gold&x=y"))
    login_url = build(error, login_url="https://app.example.com/auth/login")[2]["login_url"]
    assert login_url == "https://app.example.com/auth/login?acr_values=urn%3Aa%3A1%20gold%26x%3Dy&max_age=300"


def test_an_errors_members_join_but_never_replace() -> None:
    error = errors.AccessDeniedError("No.", members={"reason": "not_owner", "code": "fine", "status": 200})
    _, _, problem = build(error)
    assert (problem["reason"], problem["code"], problem["status"]) == ("not_owner", "access_denied", 403)


def test_what_only_operators_may_read_is_not_answered() -> None:
    error = errors.IdpUnavailableError(internal_reason="connect to 10.1.2.3 refused")
    assert b"10.1.2.3" not in build_problem(error, request_id="r", login_url=None)[2]


def test_text_that_is_no_unicode_does_not_break_the_answer() -> None:
    assert build(errors.BadRequestError("caf\u00e9 \ud800"))[2]["detail"] == "caf\u00e9 \ud800"
