"""Rows H of the attack table: what a client claims about itself goes nowhere, what a backend may not say stays here."""

from __future__ import annotations

import pytest

from tests.support.gateway import USER_TOKEN, Gateway
from tests.support.raw_backend import RecordedRequest

pytestmark = pytest.mark.live

SPOOFED = [
    "X-User-ID",
    "X-Original-User",
    "X-Session-ID",
    "X-Forwarded-User",
    "X-Forwarded-For",
    "X-Forwarded-Uri",
    "X-Forwarded-Method",
    "X-Real-IP",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-HTTP-Method-Override",
    "X-Auth-Request-User",
    "X-Auth-Request-Groups",
    "Remote-User",
    "X-Remote-User",
    "Forwarded",
    "X-Internal-Secret",
    "Proxy-Authorization",
    "Proxy-Connection",
    "X-CSRF-Token",
    "Proxy",
    "True-Client-IP",
    "CF-Connecting-IP",
    "X-Client-IP",
    "X-Cluster-Client-IP",
]
TWINS = ["X_User_ID", "X.User.ID", "x_user-id", "X_Forwarded_User", "Remote_User", "X.Original.User"]


def forwarded(gateway: Gateway) -> RecordedRequest:
    [request] = gateway.take_requests()
    return request


@pytest.mark.parametrize("name", SPOOFED + TWINS)
@pytest.mark.parametrize("target", ["/public/x", "/api/crud/x"])
def test_a_spoofed_header_is_removed_on_every_route(gateway: Gateway, target: str, name: str) -> None:  # H1, H2
    assert gateway.call("GET", target, f"{name}: spoofed-by-client").status == 200
    assert b"spoofed-by-client" not in forwarded(gateway).head


def test_a_backend_is_told_who_calls_and_from_where(gateway: Gateway) -> None:
    answer = gateway.call("GET", "/api/crud/x?y", "X-Correlation-ID: my-id.1", "Accept: application/json")
    request = forwarded(gateway)
    record = gateway.sessions.find(gateway.session_id)
    assert record is not None
    assert request.get_all("X-User-ID") == [b"alice"]
    assert request.get_all("X-Original-User") == [b"auth:account:test:alice"]
    assert request.get_all("X-Session-ID") == [record.reference.encode()]
    assert gateway.session_id.encode() not in request.head
    assert request.get_all("X-Correlation-ID") == [b"my-id.1"]
    assert answer.get("X-Correlation-ID") == "my-id.1"
    assert request.get_all("X-Forwarded-For") == [b"127.0.0.1"]
    assert request.get_all("X-Forwarded-Proto") == [b"http"]
    assert request.get_all("X-Forwarded-Host") == [gateway.host.encode()]
    assert request.get_all("Host") == [f"127.0.0.1:{gateway.backend.port}".encode()]
    assert len(request.get_all("traceparent")) == 1
    assert request.get_all("Accept") == [b"application/json"]
    assert request.get_all("Cookie") == []
    assert request.get_all("Authorization") == []


def test_a_route_without_login_tells_nobody_who_calls(gateway: Gateway) -> None:
    gateway.call("GET", "/public/x")
    request = forwarded(gateway)
    assert request.get_all("X-User-ID") == request.get_all("X-Session-ID") == request.get_all("Cookie") == []


def test_connection_cannot_take_our_headers_away(gateway: Gateway) -> None:  # H5
    named = "Connection: close, Authorization, X-User-ID, X-Correlation-ID, X-Forwarded-For, X-Mine"
    gateway.call("GET", "/mine/x", named, "X-Mine: 1")
    request = forwarded(gateway)
    assert request.get_all("Authorization") == [b"Bearer " + USER_TOKEN.encode()]
    assert request.get_all("X-User-ID") == [b"alice"]
    assert request.get_all("X-Mine") == []


def test_a_clients_authorization_is_replaced_never_appended(gateway: Gateway) -> None:  # H7
    gateway.call("GET", "/mine/x", "Authorization: Bearer client-made")
    assert forwarded(gateway).get_all("Authorization") == [b"Bearer " + USER_TOKEN.encode()]


@pytest.mark.parametrize("target", ["/public/x", "/api/crud/x"])
def test_a_clients_authorization_goes_to_no_backend(gateway: Gateway, target: str) -> None:  # H7
    gateway.call("GET", target, "Authorization: Bearer client-made")
    assert forwarded(gateway).get_all("Authorization") == []


def test_two_session_cookies_are_never_picked_from(gateway: Gateway) -> None:  # H8
    answer = gateway.call("GET", "/api/crud/x", f"Cookie: bff_session={'A' * 43}; {gateway.cookie}", is_logged_in=False)
    assert (answer.status, answer.code) == (400, "bad_request")
    assert gateway.take_requests() == []


@pytest.mark.parametrize("order", [0, 1])
def test_two_cookie_lines_give_no_credentials(gateway: Gateway, order: int) -> None:  # H8
    lines = [f"Cookie: {gateway.cookie}", f"Cookie: bff_session={'A' * 43}"]
    answer = gateway.call("GET", "/api/crud/x", lines[order], lines[1 - order], is_logged_in=False)
    assert answer.status in (400, 401)
    assert gateway.take_requests() == []


def test_only_listed_cookies_travel_and_never_ours(gateway: Gateway) -> None:  # H10
    cookies = f"Cookie: theme=dark; other=1; {gateway.cookie}; bff_csrf=x"
    answer = gateway.call("GET", "/shared/cookies", cookies, is_logged_in=False)
    assert forwarded(gateway).get_all("Cookie") == [b"theme=dark"]
    assert answer.get_all("Set-Cookie") == ["theme=dark"]


def test_what_a_backend_may_not_say_is_removed(gateway: Gateway) -> None:
    answer = gateway.call("GET", "/api/crud/hostile-headers")
    assert (answer.status, answer.body) == (401, b"no")
    for name in (
        "X-BFF-Error",
        "WWW-Authenticate",
        "Clear-Site-Data",
        "Service-Worker-Allowed",
        "Alt-Svc",
        "NEL",
        "Report-To",
        "Reporting-Endpoints",
        "Access-Control-Allow-Origin",
        "Set-Cookie",
        "X-Private",
    ):
        assert answer.get(name) is None, name
    assert answer.get("X-Content-Type-Options") == "nosniff"


def test_a_backends_answer_passes_as_it_is(gateway: Gateway) -> None:
    answer = gateway.call("GET", "/api/crud/cached")
    assert (answer.get("Cache-Control"), answer.get("ETag"), answer.body) == ("private, max-age=60", '"1"', b"ok")
    assert gateway.call("GET", "/api/crud/chunked").body == b"abcde"
    assert gateway.call("GET", "/api/crud/empty").status == 204
    assert gateway.call("GET", "/api/crud/not-modified").status == 304
    assert gateway.call("GET", "/api/crud/no-type").get("Content-Type") is None


def test_an_answer_without_cache_rules_is_not_stored(gateway: Gateway) -> None:  # B7
    assert gateway.call("GET", "/api/crud/x").get("Cache-Control") == "no-store"
    refusal = gateway.call("GET", "/api/crud/x", is_logged_in=False)
    assert (refusal.get("Cache-Control"), refusal.get("X-Content-Type-Options")) == ("no-store", "nosniff")


def test_locations_are_mapped_back_and_foreign_ones_left_alone(gateway: Gateway) -> None:
    assert gateway.call("GET", "/api/crud/created").get("Location") == "/api/crud/items/7"
    assert gateway.call("GET", "/api/crud/moved").get("Location") == "http://elsewhere.example/x"


@pytest.mark.parametrize(("path", "location"), [("moved-to-6", "http://[::1/"), ("moved-to-port", "http://h:99999/")])
def test_a_location_that_is_no_url_passes_as_it_is(gateway: Gateway, path: str, location: str) -> None:
    answer = gateway.call("GET", f"/api/crud/{path}")
    assert (answer.status, answer.get("Location")) == (302, location)


@pytest.mark.parametrize("path", ["rubbish", "split"])
def test_an_answer_that_is_not_http_is_a_bad_gateway(gateway: Gateway, path: str) -> None:
    answer = gateway.call("GET", f"/api/crud/{path}")
    assert (answer.status, answer.code) == (502, "upstream_bad_response")


@pytest.mark.parametrize("host", ["evil.example", "localhost", "localhost:1", "", "localhost:{port}.evil.example"])
@pytest.mark.parametrize("target", ["/public/x", "/auth/login", "/api/auth/session"])
def test_a_foreign_host_is_refused(gateway: Gateway, target: str, host: str) -> None:  # H21
    host = host.format(port=gateway.bff.port)
    answer = gateway.send(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert answer.status == 400
    assert answer.code in ("unknown_host", "bad_request")
    assert "evil" not in str(answer.headers) + answer.body.decode()
    assert gateway.take_requests() == []


def test_forwarded_host_and_proto_decide_nothing(gateway: Gateway) -> None:  # H4
    lines = ("X-Forwarded-Host: evil.example", "X-Forwarded-Proto: https", "Forwarded: host=evil.example;proto=https")
    answer = gateway.call("GET", "/api/auth/session", *lines, is_logged_in=False)
    assert answer.status == 401
    assert b"evil" not in answer.body
    assert f'"login_url":"http://{gateway.host}/auth/login"'.encode() in answer.body.replace(b": ", b":")
    gateway.call("GET", "/public/x", *lines)
    assert forwarded(gateway).get_all("X-Forwarded-Host") == [gateway.host.encode()]


def test_a_client_address_is_not_taken_from_an_untrusted_peer(gateway: Gateway) -> None:  # H13
    gateway.call("GET", "/public/x", "X-Forwarded-For: 203.0.113.7", "X-Real-IP: 203.0.113.7")
    assert forwarded(gateway).get_all("X-Forwarded-For") == [b"127.0.0.1"]


SMUGGLED = [
    pytest.param("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n", id="H20-cl-and-te"),
    pytest.param("Content-Length: 5\r\nContent-Length: 6", "12345", id="H20-two-lengths"),
    pytest.param("Transfer-Encoding: xchunked", "0\r\n\r\n", id="H20-xchunked"),
    pytest.param("Transfer-Encoding: gzip, chunked", "0\r\n\r\n", id="H20-another-coding"),
    pytest.param("Transfer-Encoding: chunked, identity", "0\r\n\r\n", id="H20-not-final"),
    pytest.param("Transfer-Encoding: \x0bchunked", "0\r\n\r\n", id="H20-vertical-tab"),
    pytest.param("X: a\r\n folded\r\nContent-Length: 0", "", id="H20-obs-fold"),
    pytest.param("Content-Length: +1", "1", id="H20-plus"),
    pytest.param("Content-Length: 0x1", "1", id="H20-hex"),
    pytest.param("Content-Length : 1", "1", id="H20-space-before-colon"),
    pytest.param("Transfer-Encoding: chunked", "1\n1\n0\n\n", id="H20-bare-lf-in-chunks"),
    pytest.param("Transfer-Encoding: chunked", "1;\ra=b\r\n1\r\n0\r\n\r\n", id="H20-chunk-extension"),
    pytest.param("Transfer-Encoding: chunked", "-1\r\n\r\n", id="H20-negative-chunk"),
]


@pytest.mark.parametrize(("lines", "body"), SMUGGLED)
def test_ambiguous_framing_is_refused_and_the_connection_ends(gateway: Gateway, lines: str, body: str) -> None:
    smuggled = f"GET /public/smuggled HTTP/1.1\r\nHost: {gateway.host}\r\n\r\n"
    head = f"POST /public/x HTTP/1.1\r\nHost: {gateway.host}\r\n{lines}\r\n\r\n"
    answer = gateway.send((head + body + smuggled).encode("latin-1"))
    assert (answer.status, answer.code) == (400, "bad_request")
    assert b"smuggled" not in gateway.backend.recorded
    assert len(gateway.take_requests()) == 0


@pytest.mark.parametrize(
    ("request_head", "status", "code"),
    [
        pytest.param("GET /public/x HTTP/1.1\r\n" + "X-A: 1\r\n" * 200, 431, "headers_too_large", id="H24-200-headers"),
        pytest.param(
            "GET /public/x HTTP/1.1\r\n" + ("X-A: " + "a" * 8000 + "\r\n") * 9, 431, "headers_too_large", id="H24-70-kb"
        ),
        pytest.param("GET /public/x HTTP/1.1\r\nX-A: " + "a" * 9000 + "\r\n", 431, "headers_too_large", id="H24-9-kb"),
        pytest.param(f"GET /public/{'a' * 5000} HTTP/1.1\r\n", 414, "uri_too_long", id="H24-5-kb-line"),
        pytest.param("GET /public/x HTTP/9.9\r\n", 400, "bad_request", id="H24-version"),
        pytest.param("\x16\x03\x01\x02", 400, "bad_request", id="H24-tls-to-a-plain-port"),
    ],
)
def test_an_oversized_or_broken_head_is_refused_and_the_worker_lives(
    gateway: Gateway, request_head: str, status: int, code: str
) -> None:
    worker = gateway.bff.worker_pids()
    answer = gateway.send(f"{request_head}Host: {gateway.host}\r\n\r\n".encode("latin-1"))
    assert (answer.status, answer.code) == (status, code)
    assert answer.get("Content-Type") == "application/problem+json"
    assert gateway.bff.worker_pids() == worker
    assert gateway.call("GET", "/public/x").status == 200


def test_metrics_are_not_there_from_outside(gateway: Gateway) -> None:  # O4
    unknown = gateway.call("GET", "/nowhere")
    for target in ("/metrics", "/admin", "/admin/cache", "/metrics/"):
        answer = gateway.call("GET", target, f"X-Forwarded-Port: {gateway.bff.internal_port}")
        assert (answer.status, answer.code) == (unknown.status, unknown.code), target
