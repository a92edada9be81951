"""Rows P and H of the attack table through a real Traefik as we configure it: refused, or the same bytes; no bypass.

Traefik writes a path its own way before anybody behind it sees it: what is percent-encoded without need is decoded,
what needs it is encoded, hex digits become capitals, and `;` in a query becomes `&`. So the oracle is the BFF itself,
asked directly in Traefik's spelling: through the edge nothing else may happen.
"""

from __future__ import annotations

import re

import pytest

from tests.live.test_gateway_headers import SMUGGLED, SPOOFED, TWINS
from tests.live.test_gateway_paths import NOT_ALLOWED, REFUSED, SENT_UNCHANGED
from tests.support.gateway import USER_TOKEN, Answer, Gateway
from tests.support.traefik import EdgeGateway, write_as_traefik

pytestmark = pytest.mark.live

TARGETS = [pytest.param(row.values[0], id=row.id) for row in REFUSED + SENT_UNCHANGED]
NEIGHBOURS = [
    pytest.param("/api/../public/x", id="P4-out-of-a-prefix"),
    pytest.param("/public/%2E%2E/admin/x", id="P4-capitals"),
    pytest.param("/public/..%2fadmin/x", id="P6-dots-before-it"),
    pytest.param("/public/%2561dmin/x", id="P7-second-spelling-twice"),
    pytest.param("/public/%25252e/x", id="P7-thrice"),
    pytest.param("/public//admin/x", id="P8-hides-a-segment"),
    pytest.param("/public/admin%5cx", id="P9-hides-a-slash"),
    pytest.param("/%70ublic/admin/x", id="P5-first-segment"),
    pytest.param("/public/adm%69n/x", id="P5-hides-the-stricter-route"),
    pytest.param("/odd/%73ecret/x", id="P5-opted-in"),
    pytest.param("/public/x#/../admin", id="P1-plain-fragment"),
    pytest.param("/public/%u0061dmin", id="P13-not-an-escape"),
    pytest.param("/public/%c0%ae%c0%ae/admin", id="P13-overlong"),
    pytest.param("/public/\x7f", id="P13-delete"),
    pytest.param("/public/x%0d%0aX-Evil:%201", id="P25-line-break"),
    pytest.param("http://localhost/public/x", id="P18-our-name-without-port"),
    pytest.param('/public/<x>|{y}^`"', id="needs-encoding"),
]


def call_directly(edge: EdgeGateway, target: str, *, is_logged_in: bool) -> Answer:
    """The call as Traefik would make it, past Traefik."""
    direct = Gateway(edge.bff, edge.backend, edge.session_id, edge.sessions)
    lines = [f"GET {target} HTTP/1.1", f"Host: {edge.host}", "Connection: close"]
    lines += [f"Cookie: {edge.cookie}"] if is_logged_in else []
    return direct.send("\r\n".join([*lines, "", ""]).encode("latin-1"))


def lines_sent(edge: EdgeGateway) -> list[bytes]:
    return [request.request_line for request in edge.take_requests()]


@pytest.mark.parametrize("is_logged_in", [True, False], ids=["session", "nobody"])
@pytest.mark.parametrize("target", TARGETS + NEIGHBOURS)
def test_a_path_is_refused_or_is_what_the_bff_would_have_sent(
    edge: EdgeGateway, target: str, is_logged_in: bool
) -> None:
    answer = edge.call("GET", target, is_logged_in=is_logged_in)
    sent = lines_sent(edge)
    is_unknown_to_traefik = answer.status == 404 and answer.code is None
    if (
        answer.status == 400 or is_unknown_to_traefik or edge.take_requests_of(edge.spa)
    ):  # refused, or a file of the SPA
        assert sent == []
        return
    direct = call_directly(edge, write_as_traefik(target), is_logged_in=is_logged_in)
    assert (answer.status, answer.code) == (direct.status, direct.code)
    assert sent == lines_sent(edge)


@pytest.mark.parametrize("target", TARGETS + NEIGHBOURS)
def test_no_spelling_reaches_a_route_with_a_login_without_one(edge: EdgeGateway, target: str) -> None:
    edge.call("GET", target, is_logged_in=False)
    assert [line for line in lines_sent(edge) if not line.startswith((b"GET /public", b"GET /odd/"))] == []


@pytest.mark.parametrize(("target", "expected"), SENT_UNCHANGED)
def test_a_good_path_arrives_in_traefiks_spelling_or_not_at_all(edge: EdgeGateway, target: str, expected: str) -> None:
    edge.call("GET", target)
    sent = lines_sent(edge)
    assert sent in ([], [f"GET {write_as_traefik(expected)} HTTP/1.1".encode()])


@pytest.mark.parametrize(("method", "target", "status", "code"), NOT_ALLOWED)
def test_a_method_that_is_not_allowed_reaches_no_backend(
    edge: EdgeGateway, method: str, target: str, status: int, code: str
) -> None:
    answer = edge.call(method, target)
    is_answered_by_traefik = target == "*" or method == "CONNECT"
    assert is_answered_by_traefik or (answer.status, answer.code) == (status, code)
    assert edge.take_requests() == []


@pytest.mark.parametrize(
    "path", ["verify", "verify/", "%76erify", "verify?x", "verify;x", "./verify", "/verify", "x/../verify"]
)
@pytest.mark.parametrize("host", ["app", "tools"])
def test_the_question_of_forward_auth_is_not_for_outsiders(edge: EdgeGateway, host: str, path: str) -> None:  # H14
    forged = "X-Forwarded-Uri: /\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Host: tools.localhost\r\n"
    name = edge.host if host == "app" else edge.tools_host
    head = f"GET /auth/{path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\nCookie: {edge.cookie}\r\n{forged}\r\n"
    answer = edge.send(head.encode())
    assert answer.status in (400, 404)
    assert answer.get("X-User-ID") is None
    assert edge.take_requests_of(edge.tools) == []


@pytest.mark.parametrize("name", SPOOFED + TWINS)
@pytest.mark.parametrize("target", ["/public/x", "/api/crud/x"])
def test_a_spoofed_header_goes_nowhere(edge: EdgeGateway, target: str, name: str) -> None:  # H1, H2
    answer = edge.call("GET", target, f"{name}: spoofed-by-client")
    assert answer.status == (400 if re.search("[_.]", name) else 200)
    sent = edge.take_requests()
    assert len(sent) == (1 if answer.status == 200 else 0)
    assert all(b"spoofed-by-client" not in request.head for request in sent)


def test_connection_cannot_take_our_headers_away(edge: EdgeGateway) -> None:  # H5
    named = "Connection: close, Authorization, X-User-ID, X-Correlation-ID, X-Forwarded-For, X-Forwarded-Host, X-Mine"
    edge.call("GET", "/mine/x", named, "X-Mine: 1")
    [request] = edge.take_requests()
    assert request.get_all("Authorization") == [b"Bearer " + USER_TOKEN.encode()]
    assert request.get_all("X-User-ID") == [b"alice"]
    assert request.get_all("X-Forwarded-For") == [b"127.0.0.1, 127.0.0.1"]  # the client, then Traefik
    assert request.get_all("X-Forwarded-Host") == [edge.host.encode()]
    assert request.get_all("X-Mine") == []


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param("X-Forwarded-For: 203.0.113.7", id="H13-one"),
        pytest.param("X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-For: 127.0.0.1", id="H13-two-lines"),
        pytest.param("X-Real-Ip: 203.0.113.7\r\nForwarded: for=203.0.113.7", id="H13-other-names"),
        pytest.param("X-Forwarded-Host: evil.example\r\nX-Forwarded-Proto: https", id="H4"),
        pytest.param("X-Forwarded-Prefix: /evil.example", id="H4-prefix"),
    ],
)
def test_what_a_client_says_about_itself_is_not_believed(edge: EdgeGateway, lines: str) -> None:
    answer = edge.call("GET", "/public/x", *lines.split("\r\n"))
    [request] = edge.take_requests()
    assert answer.status == 200
    assert b"203.0.113.7" not in request.head
    assert b"evil" not in request.head
    assert request.get_all("X-Forwarded-For") == [b"127.0.0.1, 127.0.0.1"]  # the client, then Traefik
    assert request.get_all("X-Forwarded-Proto") == [b"http"]


def test_two_session_cookies_are_never_picked_from(edge: EdgeGateway) -> None:  # H8
    answer = edge.call(
        "GET", "/api/crud/x", f"Cookie: bff_session={'A' * 43}", f"Cookie: {edge.cookie}", is_logged_in=False
    )
    assert answer.status in (400, 401)
    assert edge.take_requests() == []


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "127.0.0.1"])
@pytest.mark.parametrize("target", ["/public/x", "/auth/login", "/api/auth/session"])
def test_a_foreign_host_is_refused(edge: EdgeGateway, target: str, host: str) -> None:  # H21
    answer = edge.send(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert answer.status in (400, 404)
    assert "evil" not in str(answer.headers) + answer.body.decode()
    assert edge.take_requests() == []


@pytest.mark.parametrize(("lines", "body"), SMUGGLED)
def test_no_request_comes_out_that_was_not_answered(edge: EdgeGateway, lines: str, body: str) -> None:  # H20
    smuggled = f"GET /public/smuggled HTTP/1.1\r\nHost: {edge.host}\r\nConnection: close\r\n\r\n"
    head = f"POST /public/x HTTP/1.1\r\nHost: {edge.host}\r\n{lines}\r\n\r\n"
    received = edge.exchange((head + body + smuggled).encode("latin-1"))
    answers = re.findall(rb"(?:^|\r\n\r\n|\}|ok)HTTP/1\.1 ([0-9]{3})", received)
    assert len(answers) in (1, 2)
    assert len(edge.take_requests()) == answers.count(b"200")


@pytest.mark.parametrize(
    "request_head",
    [
        pytest.param("GET /public/x HTTP/1.1\r\n" + "X-A: 1\r\n" * 200, id="H24-200-headers"),
        pytest.param("GET /public/x HTTP/1.1\r\nX-A: " + "a" * 9000 + "\r\n", id="H24-9-kb"),
        pytest.param("GET /public/x HTTP/1.1\r\n" + ("X-A: " + "a" * 8000 + "\r\n") * 20, id="H24-160-kb"),
        pytest.param(f"GET /public/{'a' * 5000} HTTP/1.1\r\n", id="H24-5-kb-line"),
        pytest.param("GET /public/x HTTP/9.9\r\n", id="H24-version"),
    ],
)
def test_an_oversized_head_is_refused_and_everybody_lives(edge: EdgeGateway, request_head: str) -> None:
    answer = edge.send(f"{request_head}Host: {edge.host}\r\nConnection: close\r\n\r\n".encode("latin-1"))
    assert answer.status in (400, 414, 431, 505)
    assert edge.call("GET", "/public/x").status == 200
    assert edge.traefik.is_running()
