"""A BFF between WebSocket clients and a real server, at each door: what the tests of WebSockets share."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from app.services.session_store import SessionStore
from tests.support.authzen_pdp import AuthzenPdp
from tests.support.bff import Bff, build_route, start_bff
from tests.support.doors import DOORS, Door
from tests.support.gateway import ALLOWED_ORIGIN, Answer, parse_answer, put_session
from tests.support.raw_backend import Conversation, RawBackend, find_closed_port
from tests.support.real_op import BASIC_CLIENT

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


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
