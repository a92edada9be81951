"""What deploy/traefik does around the BFF, tried with a real Traefik: who answers what, ForwardAuth, limits, TLS."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from demo.edge import SHIPPED, Certificate, Edge
from tests.support.gateway import Answer, echo, parse_answer
from tests.support.processes import free_port, wait_until
from tests.support.raw_backend import RawBackend
from tests.support.traefik import EdgeGateway, make_certificate, start_traefik, write_as_traefik

pytestmark = pytest.mark.live

NAVIGATION = "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Site: none"


def open_tool(edge: EdgeGateway, target: str, *lines: str, cookies: str = "") -> Answer:
    """A request to the protected application's host."""
    head = [f"GET {target} HTTP/1.1", f"Host: {edge.tools_host}", "Connection: close", *lines]
    head += [f"Cookie: {cookies}"] if cookies else []
    return edge.send("\r\n".join([*head, "", ""]).encode("latin-1"))


@pytest.mark.parametrize("target", ["/", "/forms/7", "/apix", "/metrics", "/admin/cache", "/health/ready", "/authors"])
def test_what_the_bff_does_not_claim_is_the_spas(edge: EdgeGateway, target: str) -> None:  # O4
    answer = edge.call("GET", target)
    [request] = edge.take_requests_of(edge.spa)
    assert request.request_line == f"GET {target} HTTP/1.1".encode()
    assert "default-src 'self'" in (answer.get("Content-Security-Policy") or "")
    assert (answer.get("X-Content-Type-Options"), answer.get("X-Frame-Options")) == ("nosniff", "DENY")
    assert answer.get("Referrer-Policy") == "same-origin"
    assert edge.take_requests() == []


@pytest.mark.parametrize(
    "target", ["/api/auth/session", "/.well-known/jwks.json", "/access/v1/evaluation", "/auth/login"]
)
def test_the_bffs_own_endpoints_are_reached(edge: EdgeGateway, target: str) -> None:
    answer = edge.call("GET", target)
    assert answer.status in (200, 405, 503)
    assert answer.get("X-Correlation-ID")
    assert edge.take_requests_of(edge.spa) == []


def test_an_application_is_closed_without_a_session(edge: EdgeGateway) -> None:
    refused = open_tool(edge, "/graph", "X-User-ID: admin")
    assert (refused.status, refused.code) == (401, "not_authenticated")
    assert json.loads(refused.body)["login_url"] == f"http://{edge.tools_host}/auth/login"
    page = open_tool(edge, "/graph?x=1", NAVIGATION)
    tools = f"http://{edge.tools_host}/graph?x=1"
    assert page.status == 302
    assert page.get("Location") == f"http://{edge.tools_host}/auth/login?return_to={quote(tools, safe='')}"
    assert edge.take_requests_of(edge.tools) == []


def test_an_application_hears_who_comes_from_the_bff_alone(edge: EdgeGateway) -> None:
    spoofed = ("X-User-ID: admin", "X-Original-User: admin", "X-Session-ID: admin")
    answer = open_tool(edge, "/graph?x=1", *spoofed, cookies=f"theme=dark; {edge.cookie}; bff_csrf=x")
    [request] = edge.take_requests_of(edge.tools)
    record = edge.sessions.find(edge.session_id)
    assert answer.status == 200
    assert record is not None
    assert request.request_line == b"GET /graph?x=1 HTTP/1.1"
    assert request.get_all("X-User-ID") == [b"alice"]
    assert request.get_all("X-Original-User") == [b"auth:account:test:alice"]
    assert request.get_all("X-Session-ID") == [record.reference.encode()]
    assert request.get_all("Cookie") == [b"theme=dark"]
    assert edge.session_id.encode() not in request.head


def test_an_application_is_opened_by_the_decision_point_where_the_entry_says_so(edge: EdgeGateway) -> None:
    assert open_tool(edge, "/decided/graph?x=1", cookies=edge.cookie).status == 200
    [request] = edge.take_requests_of(edge.tools)
    assert request.get_all("X-User-ID") == [b"alice"]
    [question] = edge.pdp.questions
    assert question["subject"]["id"] == "alice"
    assert (question["action"], question["resource"]) == ({"name": "read"}, {"type": "tool", "id": "graph"})


HANDSHAKE = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="


@pytest.mark.parametrize("is_websocket", [False, True], ids=["call", "D7-websocket"])
def test_what_the_decision_point_denies_never_reaches_the_application(edge: EdgeGateway, is_websocket: bool) -> None:
    edge.pdp.decide = lambda _: False
    lines = [f"Origin: http://{edge.tools_host}", *([HANDSHAKE, "Connection: Upgrade"] if is_websocket else [])]
    answer = open_tool(edge, f"/decided/denied-{is_websocket}", "X-User-ID: admin", *lines, cookies=edge.cookie)
    assert (answer.status, answer.code) == (403, "access_denied")
    assert (len(edge.pdp.questions), edge.take_requests_of(edge.tools)) == (1, [])


@pytest.mark.parametrize("line", ["X-HTTP-Method-Override: DELETE", "X-Original-URL: /decided/another"])
def test_p16_what_is_asked_about_is_what_the_application_would_do(edge: EdgeGateway, line: str) -> None:
    assert open_tool(edge, "/decided/graph", line, cookies=edge.cookie).status == 400
    assert (edge.pdp.questions, edge.take_requests_of(edge.tools)) == ([], [])


# fmt: off
ODD_TARGETS = [
    "/a/../b", "/a/%2e%2e/b", "/%61", "//a", "/a//b", "/a;b", "/a%3bb", "/a%2fb", "/a%5cb", "/a%00", "/%ff", "/a%23b",
    "/a%3fb", "/%252e%252e/a", "/\xe4", "/a?b=/../c", "/a?b;c", "/a%0d%0aX:1", "/a\\b", "/.", "/<a>", "/a{b}|c",
]
# fmt: on


@pytest.mark.parametrize("target", ODD_TARGETS)
def test_the_path_the_bff_is_asked_about_is_the_one_the_application_gets(edge: EdgeGateway, target: str) -> None:
    """D6: the BFF refuses what has a second spelling; what it lets through arrives as it was asked."""
    answer = open_tool(edge, target, cookies=edge.cookie)
    sent = [request.request_line for request in edge.take_requests_of(edge.tools)]
    if answer.status == 200:
        spelling = write_as_traefik(target)
        assert sent == [f"GET {spelling} HTTP/1.1".encode()]
        assert not any(sign in spelling.partition("?")[0] for sign in ("..", "//", ";", "/.", "%2F", "%5C", "%00"))
    else:
        assert (answer.status, sent) == (400, [])


def test_a_body_for_a_small_application_is_limited(edge: EdgeGateway) -> None:  # B5
    origin = f"Origin: http://{edge.tools_host}"
    lines = f"Host: {edge.tools_host}\r\nConnection: close\r\n{origin}\r\nCookie: {edge.cookie}"
    head = f"POST /x HTTP/1.1\r\n{lines}\r\nContent-Length: "
    assert edge.send(f"{head}1048577\r\n\r\n".encode()).status == 413
    assert edge.take_requests_of(edge.tools) == []
    assert edge.send(f"{head}1048576\r\n\r\n".encode() + b"a" * 1048576).status == 200
    assert len(edge.take_requests_of(edge.tools)) == 1


def test_no_log_of_the_edge_holds_what_a_login_carries(edge: EdgeGateway) -> None:  # T21
    edge.call("GET", "/auth/callback?code=a-code-of-the-provider&state=a-state-of-ours")
    edge.call("GET", "/api/crud/x")
    edge.traefik.wait_until(
        lambda: edge.traefik.read_log().count('"RouterName":"bff@file"') >= 2, timeout_seconds=10, what="access lines"
    )
    log = edge.traefik.read_log()
    for secret in ("a-code-of-the-provider", "a-state-of-ours", edge.session_id):
        assert secret not in log


# --- the parts that the run's edge has replaced: the rate limit, TLS ---


@pytest.fixture
def bystander() -> Iterator[RawBackend]:
    """One server for all three places behind an edge."""
    with RawBackend(echo) as server:
        yield server


def build_edge(server: RawBackend, *, certificate: Certificate | None = None) -> Edge:
    return Edge(
        port=free_port(),
        internal_port=free_port(),
        bff_url=server.url,
        spa_url=server.url,
        tools_url=server.url,
        certificate=certificate,
        redirect_port=free_port() if certificate else None,
    )


def test_one_address_that_calls_too_often_gets_429(bystander: RawBackend, tmp_path: Path) -> None:
    edge = build_edge(bystander)
    traefik = start_traefik(tmp_path, edge)
    limit = yaml.safe_load((SHIPPED / "dynamic" / "bff.yaml").read_text())["http"]["middlewares"]["calls-per-address"]
    request = b"GET /api/x HTTP/1.1\r\nHost: localhost\r\n\r\n"
    calls = 2 * limit["rateLimit"]["burst"]
    try:
        with socket.create_connection(("127.0.0.1", edge.port), timeout=20) as connection:
            connection.sendall(request * calls)
            received = b""
            while received.count(b"HTTP/1.1 ") < calls:
                received += connection.recv(65536)
    finally:
        traefik.stop()
    assert received.count(b"HTTP/1.1 200") >= limit["rateLimit"]["burst"]
    assert received.count(b"HTTP/1.1 429") > 0
    assert b"Retry-After: " in received


def test_browsers_are_brought_to_tls_and_kept_there(bystander: RawBackend, tmp_path: Path) -> None:
    edge = build_edge(bystander, certificate=make_certificate(tmp_path))
    traefik = start_traefik(tmp_path, edge)
    try:
        wait_until(lambda: call_over_tls(edge).status == 200, timeout_seconds=10, what="the routers")
        assert call_over_tls(edge).get("Strict-Transport-Security") == "max-age=63072000; includeSubDomains"
        with socket.create_connection(("127.0.0.1", edge.redirect_port or 0), timeout=20) as connection:
            connection.sendall(b"GET /api/x?y HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            redirect = parse_answer(read_all(connection))
        assert redirect.status in (301, 308)
        assert redirect.get("Location") == f"https://localhost:{edge.port}/api/x?y"
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            with pytest.raises(ssl.SSLError), pytest.warns(DeprecationWarning, match="TLSv1"):
                call_over_tls(edge, version)
        with pytest.raises(ssl.SSLError):
            call_over_tls(edge, name="unknown.example")
    finally:
        traefik.stop()
    assert b"X-Forwarded-Proto: https" in bystander.recorded


def call_over_tls(edge: Edge, version: ssl.TLSVersion | None = None, *, name: str = "localhost") -> Answer:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if version:
        context.minimum_version = context.maximum_version = version
        context.set_ciphers("ALL:@SECLEVEL=0")
    with (
        socket.create_connection(("127.0.0.1", edge.port), timeout=20) as connection,
        context.wrap_socket(connection, server_hostname=name) as secured,
    ):
        secured.sendall(b"GET /api/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return parse_answer(read_all(secured))


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received
