"""Rows B1, B2 of the attack table: which page may make a call, on every kind of route."""

from __future__ import annotations

import json

import pytest

from tests.support.gateway import ALLOWED_ORIGIN, Answer, Gateway

pytestmark = pytest.mark.live

FOREIGN = [
    pytest.param(("Origin: https://evil.example",), id="B2-foreign-origin"),
    pytest.param(("Origin: null",), id="B2-null-origin"),
    pytest.param(("Origin: http://localhost",), id="B2-other-port"),
    pytest.param(("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"), id="B1-cross-site-image"),
    pytest.param(("Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors"), id="B1-sibling-subdomain"),
    pytest.param(
        ("Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"), id="navigation-to-an-api"
    ),
    pytest.param(("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe"), id="B1-framed"),
    pytest.param(("Accept: text/html,*/*;q=0.8",), id="navigation-without-fetch-metadata"),
]
COOKIE_ROUTES = ["/api/crud/x", "/api/users/7/notes", "/api/kept/x", "/mine/x", "/api/auth/session"]

FORMS = [
    pytest.param(("Origin: https://evil.example", "Sec-Fetch-Site: cross-site"), id="B1-cross-site-form"),
    pytest.param(("Origin: null", "Sec-Fetch-Site: cross-site"), id="B2-sandboxed-form"),
    pytest.param(("Origin: http://sibling.localhost", "Sec-Fetch-Site: same-site"), id="B1-sibling-form"),
    pytest.param(("Sec-Fetch-Site: same-site",), id="B1-sibling-form-without-origin"),
]
FORM_TARGETS = [
    *("/api/crud/x", "/api/users/7/notes", "/api/kept/x", "/mine/x", "/download/x", "/shared/x"),
    *("/auth/logout", "/api/auth/session/refresh"),
]


def post_form(gateway: Gateway, target: str, lines: tuple[str, ...]) -> Answer:
    """What a form of another page sends, JSON in its text; with the token even, as if it had leaked."""
    navigation = ("Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document", "Content-Type: text/plain")
    return gateway.call("POST", target, *lines, *navigation, body=b'{"title": "="}')


@pytest.mark.parametrize("lines", FOREIGN)
@pytest.mark.parametrize("target", COOKIE_ROUTES)
def test_a_call_of_a_foreign_page_is_refused(gateway: Gateway, target: str, lines: tuple[str, ...]) -> None:
    answer = gateway.call("GET", target, *lines)
    assert (answer.status, answer.code) == (403, "csrf_failed")
    assert answer.get("Access-Control-Allow-Origin") is None
    assert gateway.take_requests() == []


@pytest.mark.parametrize("lines", FORMS)
@pytest.mark.parametrize("target", FORM_TARGETS)
def test_a_form_of_a_foreign_page_is_refused(gateway: Gateway, target: str, lines: tuple[str, ...]) -> None:
    answer = post_form(gateway, target, lines)
    assert (answer.status, answer.code) == (403, "csrf_failed")
    assert gateway.sessions.find(gateway.session_id) is not None
    assert gateway.take_requests() == []


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("token", ["", "X-CSRF-Token: wrong", "X-CSRF-Token: "])
def test_an_unsafe_method_needs_the_token(gateway: Gateway, method: str, token: str) -> None:  # B1
    lines = [f"Cookie: {gateway.cookie}", "Content-Type: text/plain", "Content-Length: 2", *([token] if token else [])]
    head = "\r\n".join([f"{method} /api/crud/x HTTP/1.1", f"Host: {gateway.host}", "Connection: close", *lines])
    answer = gateway.send(f"{head}\r\n\r\n{{}}".encode())
    assert (answer.status, answer.code) == (403, "csrf_failed")
    assert gateway.take_requests() == []


@pytest.mark.parametrize("target", ["/auth/logout", "/api/auth/session/refresh"])
def test_our_own_unsafe_endpoints_need_the_token_too(gateway: Gateway, target: str) -> None:  # B1, L13
    answer = gateway.call("POST", target, f"Cookie: {gateway.cookie}", is_logged_in=False)
    assert (answer.status, answer.code) == (403, "csrf_failed")
    assert gateway.sessions.find(gateway.session_id) is not None


def test_the_page_itself_may_call(gateway: Gateway) -> None:
    same_origin = (f"Origin: http://{gateway.host}", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors")
    answer = gateway.call("POST", "/api/crud/x", *same_origin, body=b"{}")
    assert answer.status == 200
    [request] = gateway.take_requests()
    assert request.body == b"{}"
    assert request.get_all("X-CSRF-Token") == []


def test_an_allowed_origin_may_call_with_credentials_and_reads_errors_too(gateway: Gateway) -> None:
    same_site = (f"Origin: {ALLOWED_ORIGIN}", "Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: cors")
    good = gateway.call("GET", "/api/crud/x", *same_site)
    refused = gateway.call("GET", "/api/crud/x", *same_site, is_logged_in=False)
    own = gateway.call("GET", "/api/auth/session", *same_site, is_logged_in=False)
    assert (good.status, refused.status, own.status) == (200, 401, 401)
    for answer in (good, refused, own):
        assert answer.get("Access-Control-Allow-Origin") == ALLOWED_ORIGIN
        assert answer.get("Access-Control-Allow-Credentials") == "true"
        assert "X-BFF-Error" in (answer.get("Access-Control-Expose-Headers") or "")
        assert "Origin" in ", ".join(answer.get_all("Vary"))


@pytest.mark.parametrize("target", ["/api/crud/x", "/public/x", "/api/auth/session"])
def test_a_preflight_of_an_allowed_origin_is_answered_before_any_login(gateway: Gateway, target: str) -> None:
    lines = (f"Origin: {ALLOWED_ORIGIN}", "Access-Control-Request-Method: GET")
    wanted = "Access-Control-Request-Headers: x-csrf-token, content-type"
    answer = gateway.call("OPTIONS", target, *lines, wanted, is_logged_in=False)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.get("Access-Control-Allow-Origin") == ALLOWED_ORIGIN
    assert answer.get("Access-Control-Allow-Headers") == "x-csrf-token, content-type"
    assert "GET" in (answer.get("Access-Control-Allow-Methods") or "")
    assert gateway.take_requests() == []


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
@pytest.mark.parametrize("target", ["/api/crud/x", "/public/x", "/api/auth/session"])
def test_a_preflight_of_another_origin_is_refused(gateway: Gateway, target: str, origin: str) -> None:  # B2
    answer = gateway.call("OPTIONS", target, f"Origin: {origin}", "Access-Control-Request-Method: GET")
    assert (answer.status, answer.code) == (403, "csrf_failed")
    assert answer.get("Access-Control-Allow-Origin") is None


def test_a_preflight_for_nothing_is_not_found(gateway: Gateway) -> None:
    answer = gateway.call("OPTIONS", "/nowhere", f"Origin: {ALLOWED_ORIGIN}", "Access-Control-Request-Method: GET")
    assert (answer.status, answer.code) == (404, "route_not_found")


def test_a_download_may_be_opened_by_a_link_from_anywhere(gateway: Gateway) -> None:
    link = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
    answer = gateway.call("GET", "/download/report", *link)
    assert (answer.status, answer.get("Content-Security-Policy")) == (200, "sandbox")


def test_a_link_without_a_session_leads_to_the_login_and_back(gateway: Gateway) -> None:
    link = ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document")
    answer = gateway.call("GET", "/download/report?x=1&y=2", *link, is_logged_in=False)
    assert answer.status == 302
    assert answer.get("Location") == f"http://{gateway.host}/auth/login?return_to=%2Fdownload%2Freport%3Fx%3D1%26y%3D2"
    assert gateway.take_requests() == []


def test_a_script_without_a_session_is_never_redirected(gateway: Gateway) -> None:
    answer = gateway.call("GET", "/download/report", "Sec-Fetch-Mode: cors", is_logged_in=False)
    assert (answer.status, answer.code) == (401, "not_authenticated")
    assert json.loads(answer.body)["login_url"] == f"http://{gateway.host}/auth/login"


@pytest.mark.parametrize(
    ("cookie", "code"),
    [
        pytest.param("", "not_authenticated", id="none"),
        pytest.param("bff_session=" + "A" * 43, "session_expired", id="L19-unknown"),
        pytest.param("bff_session=../../x", "session_expired", id="L19-path"),
        pytest.param("bff_session=" + "A" * 7000, "session_expired", id="L19-long"),
        pytest.param("bff_session=", "session_expired", id="L19-empty"),
        pytest.param("bff_session=%00", "session_expired", id="L19-nul"),
    ],
)
@pytest.mark.parametrize("target", ["/api/crud/x", "/api/auth/session"])
def test_a_cookie_that_is_no_session_is_a_401_and_stays(gateway: Gateway, target: str, cookie: str, code: str) -> None:
    answer = gateway.call("GET", target, *([f"Cookie: {cookie}"] if cookie else []), is_logged_in=False)
    assert (answer.status, answer.code) == (401, code)
    assert answer.get("Set-Cookie") is None
    assert json.loads(answer.body)["code"] == code


def test_a_body_over_the_routes_limit_is_refused_declared_or_not(gateway: Gateway) -> None:  # B5
    assert gateway.call("POST", "/api/kept/x", body=b"a" * 1001).code == "body_too_large"
    assert gateway.take_requests() == []
    chunks = b"3e8\r\n" + b"a" * 1000 + b"\r\n1\r\na\r\n0\r\n\r\n"
    lines = f"Cookie: {gateway.cookie}\r\nX-CSRF-Token: {gateway.csrf_token}\r\nTransfer-Encoding: chunked"
    head = f"POST /api/kept/x HTTP/1.1\r\nHost: {gateway.host}\r\nConnection: close\r\n{lines}\r\n\r\n"
    answer = gateway.send(head.encode() + chunks)
    assert (answer.status, answer.code) == (413, "body_too_large")
    assert gateway.take_requests() == []
    assert gateway.call("POST", "/api/kept/x", body=b"a" * 1000).status == 200
