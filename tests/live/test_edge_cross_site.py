"""Rows B1, B2, B3 of the attack table through a real Traefik as we configure it: which page may make a call or open a
WebSocket. The edge takes nothing away that the BFF judges by, and adds nothing."""

from __future__ import annotations

import socket

import pytest

from tests.live.test_gateway_cross_site import COOKIE_ROUTES, FOREIGN, FORM_TARGETS, FORMS, post_form
from tests.support.gateway import ALLOWED_ORIGIN, HANDSHAKE, Answer, parse_answer
from tests.support.traefik import EdgeGateway

pytestmark = pytest.mark.live

MASKED_FRAME = b"\x81\x82maskhi"


def check_refused(edge: EdgeGateway, answer: Answer) -> None:
    assert (answer.status, answer.code) == (403, "csrf_failed")
    assert answer.get("Access-Control-Allow-Origin") is None
    for recorder in (edge.backend, edge.spa, edge.tools):
        assert edge.take_requests_of(recorder) == []


@pytest.mark.parametrize("lines", FOREIGN)
@pytest.mark.parametrize("target", COOKIE_ROUTES)
def test_a_call_of_a_foreign_page_is_refused(edge: EdgeGateway, target: str, lines: tuple[str, ...]) -> None:
    check_refused(edge, edge.call("GET", target, *lines))


@pytest.mark.parametrize("lines", FORMS)
@pytest.mark.parametrize("target", FORM_TARGETS)
def test_a_form_of_a_foreign_page_is_refused(edge: EdgeGateway, target: str, lines: tuple[str, ...]) -> None:
    check_refused(edge, post_form(edge, target, lines))
    assert edge.sessions.find(edge.session_id) is not None


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("token", ["X-CSRF-Token: wrong", "X-Mine: 1", "X.CSRF.Token: {token}"])
def test_an_unsafe_method_needs_the_token(edge: EdgeGateway, method: str, token: str) -> None:  # B1
    own_page = (f"Cookie: {edge.cookie}", f"Origin: http://{edge.host}", "Sec-Fetch-Site: same-origin")
    line = token.format(token=edge.csrf_token)
    answer = edge.call(method, "/api/crud/x", *own_page, line, body=b"{}", is_logged_in=False)
    assert answer.status == (403 if token.startswith("X-") else 400)
    assert edge.take_requests() == []


def test_the_page_itself_and_an_allowed_one_may_call(edge: EdgeGateway) -> None:
    for origin, site in ((f"http://{edge.host}", "same-origin"), (ALLOWED_ORIGIN, "same-site")):
        lines = (f"Origin: {origin}", f"Sec-Fetch-Site: {site}", "Sec-Fetch-Mode: cors")
        assert edge.call("POST", "/api/crud/x", *lines, body=b"{}").status == 200
        assert edge.call("GET", "/api/auth/session", *lines).status == 200
    assert len(edge.take_requests()) == 2


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://sibling.localhost"])
@pytest.mark.parametrize("target", ["/api/crud/x", "/public/x", "/api/auth/session"])
def test_a_preflight_of_another_origin_is_refused(edge: EdgeGateway, target: str, origin: str) -> None:  # B2
    check_refused(edge, edge.call("OPTIONS", target, f"Origin: {origin}", "Access-Control-Request-Method: PUT"))


@pytest.mark.parametrize(
    ("target", "line", "is_logged_in"),
    [
        pytest.param("/api/socket", "Origin: https://evil.example", True, id="B3-another"),
        pytest.param("/api/socket", "Origin: http://sibling.localhost", True, id="B3-sibling"),
        pytest.param("/api/socket", "Origin: null", True, id="B3-null"),
        pytest.param("/api/socket", "X-Mine: 1", True, id="B3-none"),
        pytest.param("/public/socket", "Origin: https://evil.example", True, id="B3-without-a-login"),
        pytest.param("/public/socket", "Origin: null", False, id="B3-null-without-a-login"),
    ],
)
def test_a_websocket_of_a_foreign_page_is_refused(
    edge: EdgeGateway, target: str, line: str, is_logged_in: bool
) -> None:
    check_refused(edge, handshake(edge, edge.host, target, line, is_logged_in=is_logged_in))


@pytest.mark.parametrize(
    ("line", "host"),
    [
        pytest.param("Origin: https://evil.example", "tools", id="B3-another"),
        pytest.param("Origin: http://{app}", "tools", id="B3-of-another-host-of-ours"),
        pytest.param("Origin: null", "tools", id="B3-null"),
        pytest.param("X-Mine: 1", "tools", id="B3-none"),
        pytest.param("Origin: http://{tools}", "app", id="B3-of-the-protected-application"),
    ],
)
def test_a_websocket_of_another_host_is_refused(edge: EdgeGateway, line: str, host: str) -> None:
    line = line.format(app=edge.host, tools=edge.tools_host)
    addressed, target = (edge.tools_host, "/ws") if host == "tools" else (edge.host, "/api/socket")
    check_refused(edge, handshake(edge, addressed, target, line))


def handshake(edge: EdgeGateway, host: str, target: str, *lines: str, is_logged_in: bool = True) -> Answer:
    with open_socket(edge, host, target, *lines, is_logged_in=is_logged_in) as client:
        received = read_head(client)
        length = int(parse_answer(received, "HEAD").get("Content-Length") or 0)
        while length:
            piece = client.recv(length)
            assert piece
            received, length = received + piece, length - len(piece)
    return parse_answer(received)


def open_socket(edge: EdgeGateway, host: str, target: str, *lines: str, is_logged_in: bool = True) -> socket.socket:
    """A connection to the edge over which a handshake was sent; the edge keeps it open, whatever it answers."""
    cookie = [f"Cookie: {edge.cookie}"] if is_logged_in else []
    head = [f"GET {target} HTTP/1.1", f"Host: {host}", *HANDSHAKE, *lines, *cookie, "", ""]
    client = socket.create_connection(("127.0.0.1", edge.port), timeout=20)
    client.sendall("\r\n".join(head).encode())
    return client


def read_head(client: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = client.recv(1)
        assert piece, "the connection ended before its answer"
        head += piece
    return head


@pytest.mark.parametrize("origin", ["own", ALLOWED_ORIGIN])
def test_b3_a_websocket_of_the_page_itself_or_an_allowed_one_opens(edge: EdgeGateway, origin: str) -> None:
    line = f"Origin: {f'http://{edge.host}' if origin == 'own' else origin}"
    with open_socket(edge, edge.host, "/api/socket", line) as client:
        assert read_head(client).startswith(b"HTTP/1.1 101 ")
        client.sendall(MASKED_FRAME)
        assert client.recv(100) == MASKED_FRAME
    [request] = edge.take_requests()
    assert request.get_all("X-User-ID") == [b"alice"]
    assert request.get_all("Cookie") == []
