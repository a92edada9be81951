"""WebSockets through the BFF, between a real client and a real server; and handshakes that no real one would send."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any

import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.typing import Subprotocol

from tests.live.websocket_world import KEY, Backend, World, open_raw, open_status, world
from tests.support.gateway import ALLOWED_ORIGIN, USER_TOKEN
from tests.support.log_lines import read_lines, wait_for_lines
from tests.support.log_scan import find_leaks
from tests.support.processes import wait_until

__all__ = ["world"]

pytestmark = pytest.mark.live

MEBIBYTE = 1024 * 1024


def test_messages_pass_both_ways_however_large(world: World) -> None:
    with world.connect("/ws/echo", max_size=None) as client:
        for message in ("hello", "", "ä" * 70_000, bytes(3 * MEBIBYTE)):
            client.send(message)
            assert client.recv() == message
        assert world.count_open() == 1
    wait_until(lambda: world.count_open() == 0, timeout_seconds=5, what="the tunnel to be counted off")


def test_the_backend_gets_the_token_and_the_user_and_no_cookie(world: World) -> None:
    with world.connect("/ws/echo?x=1", subprotocols=[Subprotocol("other"), Subprotocol("chat")]) as client:
        assert client.subprotocol == "chat"
        assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]
        assert client.response.headers["X-Correlation-ID"]
        client.send("x")
        assert client.recv() == "x"
        request = world.backend.connections[-1].request
        assert request is not None
        assert request.path == "/echo?x=1"
        assert request.headers["Authorization"] == f"Bearer {USER_TOKEN}"
        assert request.headers["X-User-ID"] == "alice"
        assert "Cookie" not in request.headers


@pytest.mark.parametrize("first", ["client", "backend"])
def test_a_close_passes_with_its_code(world: World, first: str) -> None:
    with world.connect("/ws/echo") as client:
        client.send("x")
        assert client.recv() == "x"
        server = world.backend.connections[-1]
        if first == "client":
            client.close(4001, "enough")
            wait_until(lambda: server.protocol.close_rcvd is not None, timeout_seconds=5, what="the close")
            assert server.protocol.close_rcvd is not None
            assert (server.protocol.close_rcvd.code, server.protocol.close_rcvd.reason) == (4001, "enough")
        else:
            server.close(4002, "enough")
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(timeout=5)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4002


def test_a_client_that_is_gone_is_let_go_at_the_backend(world: World) -> None:
    client = world.connect("/ws/echo")
    client.send("x")
    assert client.recv() == "x"
    server = world.backend.connections[-1]
    client.socket.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: bool(server.protocol.eof_sent or server.close_code), timeout_seconds=5, what="the end")
    client.close()


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        pytest.param("own", 101, id="own"),
        pytest.param(ALLOWED_ORIGIN, 101, id="allowed"),
        pytest.param("https://evil.example", 403, id="B3-another"),
        pytest.param("null", 403, id="B3-null"),
        pytest.param(None, 403, id="B3-none"),
    ],
)
def test_b3_only_pages_of_allowed_origins_open_one(world: World, origin: str | None, status: int) -> None:
    assert open_status(world, "/ws/echo", origin=origin) == (status, "csrf_failed" if status == 403 else None)


def test_b3_where_no_session_is_needed_a_program_may_come_and_a_page_of_elsewhere_may_not(world: World) -> None:
    assert open_status(world, "/public/echo", origin=None, cookie=None) == (101, None)
    assert open_status(world, "/public/echo", origin="https://evil.example", cookie=None) == (403, "csrf_failed")


@pytest.mark.parametrize(
    ("cookie", "code"), [(None, "not_authenticated"), (f"bff_session={'x' * 43}", "session_expired")]
)
def test_without_a_session_none_opens(world: World, cookie: str | None, code: str) -> None:
    before = len(world.backend.connections)
    assert open_status(world, "/ws/echo", cookie=cookie) == (401, code)
    assert len(world.backend.connections) == before


@pytest.mark.parametrize("is_allowed", [True, False])
def test_d7_the_decision_point_is_asked_before_the_handshake(world: World, is_allowed: bool) -> None:
    world.log_in_anew()
    world.pdp.decide = lambda _: is_allowed
    before = len(world.backend.connections)
    asked = len(world.pdp.questions)
    status = open_status(world, "/judged/room")
    assert status == ((101, None) if is_allowed else (403, "access_denied"))
    [question] = world.pdp.questions[asked:]
    assert (question["action"]["name"], question["resource"]["type"]) == ("join", "room")
    # The backend's answer can be here before its thread has noted the connection.
    expected = before + is_allowed
    wait_until(lambda: len(world.backend.connections) == expected, timeout_seconds=10, what="the backend's connection")


def test_a_route_without_websockets_refuses_a_handshake_and_says_so(world: World) -> None:
    answer = world.handshake("/plain/x", *world.good_lines())
    assert (answer.status, answer.code) == (400, "bad_request")
    assert b"There is no WebSocket at this address." in answer.body
    for own_path in ("/health/live", "/auth/login", "/api/auth/session"):
        answer = world.handshake(own_path, *world.good_lines())
        assert (answer.status, answer.code) == (404, "route_not_found"), own_path


@pytest.mark.parametrize(
    ("dropped", "added"),
    [
        pytest.param("Sec-WebSocket-Key", [], id="no-key"),
        pytest.param("Sec-WebSocket-Version", ["Sec-WebSocket-Version: 8"], id="old-version"),
        pytest.param("Connection", [], id="no-connection"),
        pytest.param("", ["Content-Length: 3"], id="with-a-body"),
        pytest.param("", [f"Sec-WebSocket-Key: {KEY}"], id="two-keys"),
    ],
)
def test_a_handshake_that_is_not_whole_is_refused(world: World, dropped: str, added: list[str]) -> None:
    lines = [line for line in world.good_lines() if not dropped or not line.startswith(dropped)]
    before = len(world.backend.connections)
    answer = world.handshake("/ws/echo", *lines, *added)
    assert (answer.status, answer.code) == (400, "bad_request")
    assert len(world.backend.connections) == before


def test_h20_what_is_sent_behind_a_handshake_is_never_a_request(world: World) -> None:
    smuggled = f"GET /plain/smuggled HTTP/1.1\r\nHost: localhost:{world.bff.port}\r\nCookie: {world.cookie}\r\n\r\n"
    head = "\r\n".join(["GET /ws/echo HTTP/1.1", f"Host: localhost:{world.bff.port}", *world.good_lines(), "", ""])
    with socket.create_connection(("127.0.0.1", world.bff.port), timeout=10) as client:
        client.sendall((head + smuggled).encode())
        client.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := client.recv(65536):
                received += piece
    assert received.startswith(b"HTTP/1.1 101 ")
    assert received.count(b"HTTP/1.1 ") == 1
    assert "smuggled" not in world.bff.child.read_log()


def test_http_1_0_opens_no_websocket(world: World) -> None:
    answer = world.handshake("/ws/echo", *world.good_lines(), version="1.0")
    assert (answer.status, answer.code) == (400, "bad_request")


def test_an_upgrade_to_something_else_is_ignored(world: World) -> None:
    lines = [line for line in world.good_lines() if not line.startswith(("Upgrade", "Connection"))]
    h2c = ["Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", "Connection: Upgrade, HTTP2-Settings"]
    answer = world.handshake("/ws/echo", *lines, *h2c)
    assert answer.status == 426, "the backend speaks WebSocket only, and was asked for a plain GET"
    assert answer.code is None


@pytest.mark.parametrize("how", ["wrong-accept", "no-accept", "other-protocol", "foreign-extension"])
def test_a_backend_that_switches_without_having_understood_gets_no_tunnel(world: World, how: str) -> None:
    answer = world.handshake(f"/odd/{how}", *world.good_lines())
    assert (answer.status, answer.code) == (502, "upstream_bad_response")


def test_a_handshake_that_the_backend_refuses_gets_its_answer(world: World) -> None:
    answer = world.handshake("/odd/refused", *world.good_lines())
    assert (answer.status, answer.code, answer.body) == (403, None, b"no")


def test_a_session_that_ends_closes_its_websockets_with_1008(world: World) -> None:
    world.log_in_anew()
    with world.connect("/ws/echo") as idle, world.connect("/ws/flood", max_size=None) as busy:
        idle.send("x")
        assert idle.recv() == "x"
        assert busy.recv()
        ended_at = time.monotonic()
        world.sessions.end(world.session_id)
        with pytest.raises(ConnectionClosed) as closed:
            idle.recv(timeout=5)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "session_expired")
        read_until_closed(busy)
        assert time.monotonic() - ended_at < 5
    wait_until(lambda: world.count_open() == 0, timeout_seconds=5, what="both to be counted off")
    world.log_in_anew()


def test_a_client_that_does_not_read_is_waited_for_and_ends_with_its_session(world: World) -> None:
    world.log_in_anew()
    sent = world.backend.flooded
    raw = open_raw(world, "/ws/flood")
    wait_until(lambda: is_standing_still(world.backend), timeout_seconds=20, what="the backend to be held back")
    assert world.backend.flooded - sent < 64 * MEBIBYTE // 65536
    world.sessions.end(world.session_id)
    wait_until(lambda: world.count_open() == 0, timeout_seconds=5, what="the tunnel to be cut")
    raw.close()
    world.log_in_anew()


HELLO = "a-message-that-no-log-may-hold"
CLOSE_BYTES = 2 + 2
"""A close frame with a code and no reason; the client's has a mask of four bytes too, like all of its frames."""


@pytest.mark.parametrize("how", ["client closes", "backend closes", "client is cut", "backend is cut"])
def test_a_tunnel_leaves_one_access_line_and_no_secret(world: World, how: str) -> None:
    world.log_in_anew()
    began_at = time.monotonic()
    client = world.connect("/ws/echo?token=a-secret-of-the-query", compression=None)
    opened_at = time.monotonic()
    client.send(HELLO)
    assert client.recv() == HELLO
    server = world.backend.connections[-1]
    open_seconds = time.monotonic() - opened_at
    if how == "client closes":
        client.close()
    elif how == "backend closes":
        server.close()
    elif how == "client is cut":
        client.socket.shutdown(socket.SHUT_RDWR)
    else:
        server.socket.shutdown(socket.SHUT_RDWR)
    line = wait_for_the_one_line(world, client)
    client.close()
    is_cut = how.endswith("cut")
    frames = 1 if is_cut else 2
    frame_bytes = 2 + len(HELLO) + (0 if is_cut else CLOSE_BYTES)
    told = {name: line[name] for name in ("method", "path", "route_id", "service")}
    assert told == {"method": "GET", "path": "/ws/echo", "route_id": "ws", "service": "echo"}
    assert (line["status"], line["code"], line["aborted"]) == (101, "", is_cut)
    assert (line["user_id"], bool(line["session"]), line["client_address"]) == ("alice", True, "127.0.0.1")
    assert (line["bytes_in"], line["bytes_out"]) == (frame_bytes + 4 * frames, frame_bytes)
    assert open_seconds <= line["duration_ms"] / 1000 <= time.monotonic() - began_at
    assert 0 < line["upstream_ms"] <= line["duration_ms"]
    key = client.request.headers["Sec-WebSocket-Key"]
    assert [line for line in read_lines([world.bff.child.log_path]) if line.get("level") == "error"] == []
    secrets = {world.session_id, USER_TOKEN, key, HELLO, "a-secret-of-the-query"}
    assert find_leaks([world.bff.child.log_path], secrets) == []


def test_the_access_line_tells_of_a_session_that_took_its_tunnel_along(world: World) -> None:
    world.log_in_anew()
    with world.connect("/ws/echo") as client:
        client.send("x")
        assert client.recv() == "x"
        world.sessions.end(world.session_id)
        with pytest.raises(ConnectionClosed):
            client.recv(timeout=5)
    line = wait_for_the_one_line(world, client)
    assert (line["status"], line["code"], line["aborted"]) == (101, "session_expired", True)
    assert min(line["bytes_in"], line["bytes_out"]) > 0
    world.log_in_anew()


def wait_for_the_one_line(world: World, client: ClientConnection) -> dict[str, Any]:
    """The worker writes its lines in order: with that of a later call, a second one would be there."""
    assert client.response is not None
    log, request_id = world.bff.child.log_path, client.response.headers["X-Correlation-ID"]
    wait_for_lines([log], log="access", request_id=request_id)
    later = requests.get(f"http://localhost:{world.bff.port}/public/x", timeout=10).headers["X-Correlation-ID"]
    wait_for_lines([log], log="access", request_id=later)
    [line] = read_lines([log], log="access", request_id=request_id)
    return line


def test_a_stopping_worker_tells_its_websockets_to_go_elsewhere(world: World) -> None:
    """The last test at each door: the BFF is gone afterwards."""
    with world.connect("/ws/echo") as client:
        client.send("x")
        assert client.recv() == "x"
        stopped = threading.Thread(target=world.bff.stop)
        stopped.start()
        with pytest.raises(ConnectionClosed) as closed:
            client.recv(timeout=5)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1001, "going_away")
        stopped.join(20)
    assert client.response is not None
    request_id = client.response.headers["X-Correlation-ID"]
    [line] = read_lines([world.bff.child.log_path], log="access", request_id=request_id)
    assert (line["status"], line["code"], line["aborted"]) == (101, "", True)


def is_standing_still(backend: Backend) -> bool:
    before = backend.flooded
    threading.Event().wait(0.5)
    return backend.flooded == before


def read_until_closed(client: ClientConnection) -> None:
    try:
        while client.recv(timeout=5):
            pass
    except ConnectionClosed:
        return
