"""WebSockets through the BFF, between a real client and a real server; and handshakes that no real one would send."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from app.services.session_store import SessionStore
from tests.support.authzen_pdp import AuthzenPdp
from tests.support.bff import Bff, build_route, start_bff
from tests.support.doors import DOORS, Door
from tests.support.gateway import ALLOWED_ORIGIN, USER_TOKEN, Answer, parse_answer, put_session
from tests.support.log_lines import read_lines, wait_for_lines
from tests.support.log_scan import find_leaks
from tests.support.processes import wait_until
from tests.support.raw_backend import Conversation, RawBackend, find_closed_port
from tests.support.real_op import BASIC_CLIENT

pytestmark = pytest.mark.live

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
MEBIBYTE = 1024 * 1024


@dataclass
class Backend:
    """Echoes; `/flood` sends without end, `/hold` sends nothing."""

    connections: list[ServerConnection] = field(default_factory=list)
    closed: list[ConnectionClosed] = field(default_factory=list)
    flooded: int = 0

    def handle(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        try:
            assert connection.request is not None
            while connection.request.path == "/flood":
                connection.send(bytes(65536))
                self.flooded += 1
            for message in connection:
                connection.send(message)
        except ConnectionClosed as closed:
            self.closed.append(closed)


def choose_subprotocol(_: ServerConnection, offered: Any) -> Subprotocol | None:
    return Subprotocol("chat") if "chat" in offered else None


@dataclass
class World:
    bff: Bff
    backend: Backend
    pdp: AuthzenPdp
    odd: RawBackend
    sessions: SessionStore
    session_id: str

    @property
    def cookie(self) -> str:
        return f"bff_session={self.session_id}"

    def connect(self, path: str, *, origin: str | None = "own", cookie: str | None = "own", **more: Any) -> Any:
        headers = {"Cookie": self.cookie if cookie == "own" else cookie} if cookie else {}
        chosen = self.bff.origin if origin == "own" else origin
        url = f"ws://localhost:{self.bff.port}{path}"
        return connect(url, origin=chosen, additional_headers=headers, proxy=None, **more)  # type: ignore[arg-type]

    def log_in_anew(self) -> None:
        self.sessions, self.session_id = put_session(self.bff)

    def handshake(self, path: str, *lines: str, method: str = "GET", version: str = "1.1") -> Answer:
        """Sends a handshake as raw bytes; reads whatever comes until the BFF closes."""
        head = [f"{method} {path} HTTP/{version}", f"Host: localhost:{self.bff.port}", *lines]
        with socket.create_connection(("127.0.0.1", self.bff.port), timeout=10) as client:
            client.sendall("\r\n".join([*head, "", ""]).encode("latin-1"))
            client.shutdown(socket.SHUT_WR)
            received = b""
            while piece := client.recv(65536):
                received += piece
        return parse_answer(received, method)

    def good_lines(self) -> list[str]:
        return [
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {KEY}",
            "Sec-WebSocket-Version: 13",
            f"Origin: {self.bff.origin}",
            f"Cookie: {self.cookie}",
        ]

    def count_open(self) -> float:
        text = requests.get(f"{self.bff.internal_origin}/metrics", timeout=10).text
        [line] = [line for line in text.splitlines() if line.startswith("bff_tunnels_open")]
        return float(line.split()[-1])


def answer_oddly(conversation: Conversation) -> None:
    """Switches, but not as the handshake wants it: the path says how."""
    request = conversation.read_request()
    if b"/refused" in request.request_line:
        conversation.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        return
    accept = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    lines = {
        b"/wrong-accept": b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: AAAA\r\n",
        b"/no-accept": b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
        b"/other-protocol": b"Upgrade: h2c\r\nConnection: Upgrade\r\n" + accept,
        b"/foreign-extension": b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Extensions: x-evil\r\n"
        + accept,
    }
    conversation.send(b"HTTP/1.1 101 Switching Protocols\r\n" + lines[request.request_line.split(b" ")[1]] + b"\r\n")
    conversation.wait_for_end()


@contextmanager
def running_server(backend: Backend) -> Iterator[Server]:
    with serve(backend.handle, "127.0.0.1", 0, select_subprotocol=choose_subprotocol, max_size=None) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


@pytest.fixture(scope="module", params=DOORS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("websockets")
    backend = Backend()
    with ExitStack() as parts:
        server = parts.enter_context(running_server(backend))
        odd = parts.enter_context(RawBackend(answer_oddly))
        pdp = parts.enter_context(AuthzenPdp())
        url = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        bff = start(directory, url, odd, pdp, request.param)
        parts.callback(bff.stop)
        sessions, session_id = put_session(bff)
        yield World(bff, backend, pdp, odd, sessions, session_id)


def start(directory: Path, url: str, odd: RawBackend, pdp: AuthzenPdp, door: Door) -> Bff:
    (directory / "config").mkdir()
    (directory / "config" / "pdp.yaml").write_text(yaml.safe_dump({"connection": {"base_url": pdp.url}}))
    sockets = {"websocket": True}
    services = {
        "echo": {"base_url": url, "token": {"mode": "user"}},
        "open": {"base_url": url, "token": {"mode": "none"}},
        "odd": {"base_url": odd.url, "token": {"mode": "none"}},
    }
    mapping = {"GET": {"resource": "room", "action": "join"}}
    routes = [
        build_route("/ws/*", "echo", "/{path}", **sockets),
        build_route("/judged/*", "echo", "/{path}", **sockets, authz="pdp", authz_map=mapping, methods=["GET"]),
        build_route("/odd/*", "odd", "/{path}", **sockets),
        build_route("/plain/*", "echo", "/{path}"),
        {**build_route("/public/*", "open", "/{path}", **sockets), "auth": "none"},
    ]
    return start_bff(
        directory,
        issuer=f"http://127.0.0.1:{find_closed_port()}",
        client=BASIC_CLIENT,
        backend_url=url,
        workers=1,
        door=door,
        settings={"cors": {"allow_origins": [ALLOWED_ORIGIN]}},
        routes={"services": services, "routes": routes},
    )


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
    assert len(world.backend.connections) == before + is_allowed


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


def open_status(world: World, path: str, **how: Any) -> tuple[int, str | None]:
    try:
        with world.connect(path, **how):
            return 101, None
    except InvalidStatus as refusal:
        return refusal.response.status_code, refusal.response.headers.get("X-BFF-Error")


def open_raw(world: World, path: str) -> socket.socket:
    """A client that reads the head of its 101 and nothing behind it."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", world.bff.port))
    head = [f"GET {path} HTTP/1.1", f"Host: localhost:{world.bff.port}", *world.good_lines()]
    client.sendall("\r\n".join([*head, "", ""]).encode())
    assert client.recv(12) == b"HTTP/1.1 101"
    return client


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
