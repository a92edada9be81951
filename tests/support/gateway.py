"""A BFF in front of a backend that records every byte, spoken to over raw sockets.

The behaviour suite (tests/live/test_gateway_*.py) runs on it. Sessions are put into the store directly: what a login
does is tested elsewhere, and no provider is needed here.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from app.core.cross_site import build_csrf_token
from app.services.key_ring import KeyRing, build_default_key_file
from app.services.session_store import NewSession, SessionStore
from app.services.state_store.directory import DirectoryStateStore
from app.services.token_store import TokenSet, TokenStore
from app.settings.schema.settings_file import SessionSettings
from tests.support.bff import Bff, merge, start_bff
from tests.support.doors import DOORS, Door
from tests.support.raw_backend import Conversation, RawBackend, RecordedRequest, find_closed_port
from tests.support.real_op import BASIC_CLIENT

ALLOWED_ORIGIN = "http://localhost:5173"
USER_TOKEN = "user-access-token-that-only-the-backend-may-see"

ROUTES: dict[str, Any] = {
    "routes": [
        {"path": "/api/crud/*", "upstream_path": "/v1/{path}", "auth": "session", "id": "crud"},
        {"path": "/api/users/{id}/notes", "upstream_path": "/notes/{id}", "auth": "session", "id": "notes"},
        {"path": "/api/kept/*", "preserve_path": True, "auth": "session", "id": "kept", "max_body_bytes": 1000},
        {"path": "/api/read", "upstream_path": "/read", "auth": "session", "methods": ["GET"], "id": "read"},
        {"path": "/public/*", "upstream_path": "/public/{path}", "auth": "none", "id": "public"},
        {"path": "/public/admin/*", "upstream_path": "/admin/{path}", "auth": "session", "id": "admin"},
        {
            "path": "/odd/*",
            "upstream_path": "/odd/{path}",
            "auth": "none",
            "id": "odd",
            "allow_in_path": ["encoded_slash", "semicolon", "encoded_unreserved"],
        },
        {"path": "/odd/secret/*", "upstream_path": "/secret/{path}", "auth": "session", "id": "odd-secret"},
        {
            "path": "/download/*",
            "upstream_path": "/download/{path}",
            "auth": "session",
            "navigation": True,
            "id": "download",
        },
        {
            "path": "/shared/*",
            "upstream_path": "/shared/{path}",
            "auth": "session",
            "request_cookies": ["theme"],
            "response_cookies": ["theme"],
            "id": "shared",
        },
        {
            "path": "/limited/*",
            "upstream_path": "/limited/{path}",
            "auth": "session",
            "rate_limit": "2/hour",
            "id": "limited",
        },
        {"path": "/api/socket", "upstream_path": "/socket", "auth": "session", "methods": ["GET"], "websocket": True},
        {"path": "/public/socket", "upstream_path": "/socket", "auth": "none", "methods": ["GET"], "websocket": True},
        {"path": "/feed", "upstream_path": "/feed", "auth": "session", "streaming": True, "id": "feed"},
        {"path": "/mine/*", "target_service": "user_service", "upstream_path": "/{path}", "auth": "session"},
    ]
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer off the wire."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def get(self, name: str) -> str | None:
        return next((value for found, value in self.headers if found.lower() == name.lower()), None)

    def get_all(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found.lower() == name.lower()]

    @property
    def code(self) -> str | None:
        return self.get("X-BFF-Error")


@dataclass(slots=True)
class Gateway:
    """The BFF, the backend behind it, and one logged-in session."""

    bff: Bff
    backend: RawBackend
    session_id: str
    sessions: SessionStore
    edge_port: int | None = None
    """Where an edge in front of the BFF listens; calls go there."""
    door: Door = "worker"

    @property
    def port(self) -> int:
        return self.edge_port or self.bff.port

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    @property
    def cookie(self) -> str:
        return f"bff_session={self.session_id}"

    @property
    def csrf_token(self) -> str:
        return build_csrf_token(self.session_id)

    def call(self, method: str, target: str, *lines: str, body: bytes = b"", is_logged_in: bool = True) -> Answer:
        """Sends one well-formed request with `lines` added; logged in unless told otherwise."""
        head = [f"{method} {target} HTTP/1.1", f"Host: {self.host}", "Connection: close", *lines]
        if is_logged_in:
            head.append(f"Cookie: {self.cookie}")
            if method not in ("GET", "HEAD", "OPTIONS"):
                head.append(f"X-CSRF-Token: {self.csrf_token}")
        if body:
            head.append(f"Content-Length: {len(body)}")
        return self.send("\r\n".join([*head, "", ""]).encode("latin-1") + body, method)

    def send(self, request: bytes, method: str = "GET") -> Answer:
        """Sends raw bytes, reads until the other end closes, and takes what came for one answer."""
        return parse_answer(self.exchange(request), method)

    def exchange(self, request: bytes) -> bytes:
        """Sends raw bytes and reads until the other end closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(request)
            received = b""
            while piece := connection.recv(65536):
                received += piece
        return received

    def take_requests(self) -> list[RecordedRequest]:
        """Every request that reached the backend since the last call."""
        taken = list(self.backend.requests)
        del self.backend.requests[: len(taken)]
        return taken


def parse_answer(received: bytes, method: str = "GET") -> Answer:
    """Reads the one answer in `received`; the body out of its framing."""
    head, separator, rest = received.partition(b"\r\n\r\n")
    assert separator, f"no whole head in {received[:200]!r}"
    status_line, _, header_bytes = head.partition(b"\r\n")
    headers = [(name, str(value)) for name, value in BytesHeaderParser().parsebytes(header_bytes).items()]
    answer = Answer(int(status_line.split(b" ")[1]), headers, b"")
    if method == "HEAD" or answer.status in (204, 304):
        assert not rest, f"a body where none may be: {rest[:100]!r}"
        return answer
    if (answer.get("Transfer-Encoding") or "").lower() == "chunked":
        return Answer(answer.status, headers, _read_chunks(rest))
    declared = answer.get("Content-Length")
    assert declared is None or len(rest) == int(declared), "the body is not as long as its head says"
    return Answer(answer.status, headers, rest)


def _read_chunks(rest: bytes) -> bytes:
    body = b""
    while True:
        size_line, _, rest = rest.partition(b"\r\n")
        size = int(size_line, 16)
        if not size:
            return body
        body, rest = body + rest[:size], rest[size + 2 :]


def echo(conversation: Conversation) -> None:
    """Answers by path: plain JSON, or what a test asked for with `/v1/answer/...`."""
    while True:
        request = conversation.read_request()
        path = request.request_line.split(b" ")[1]
        conversation.send(ANSWERS.get(path, PLAIN_ANSWER))
        if path == b"/socket":
            conversation.send(conversation.receive())
        if path in CUT_SHORT:
            return
        if path == SILENT:
            conversation.wait_for_end()
            listener_left.set()
            return


HANDSHAKE = (
    *("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"),
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
"""What `/socket` takes: it answers 101 and sends back what comes behind that."""
PLAIN_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
COOKIES = b"Set-Cookie: theme=dark\r\nSet-Cookie: bff_session=stolen; Path=/\r\nSet-Cookie: other=1\r\n"
ANSWERS: dict[bytes, bytes] = {
    b"/v1/hostile-headers": (
        b"HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain\r\nContent-Length: 2\r\nX-BFF-Error: fake\r\n"
        b'WWW-Authenticate: Basic\r\nClear-Site-Data: "*"\r\nService-Worker-Allowed: /\r\n'
        b'Alt-Svc: h3=":443"\r\nNEL: {}\r\nReport-To: {}\r\nReporting-Endpoints: x="/x"\r\n'
        b"Access-Control-Allow-Origin: *\r\nConnection: keep-alive, X-Private\r\nX-Private: 1\r\n" + COOKIES + b"\r\nno"
    ),
    b"/shared/cookies": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + COOKIES + b"\r\nok",
    b"/v1/cached": b'HTTP/1.1 200 OK\r\nCache-Control: private, max-age=60\r\nETag: "1"\r\nContent-Length: 2\r\n\r\nok',
    b"/v1/created": b"HTTP/1.1 201 Created\r\nLocation: /v1/items/7\r\nContent-Length: 0\r\n\r\n",
    b"/v1/moved-to-6": b"HTTP/1.1 302 Found\r\nLocation: http://[::1/\r\nContent-Length: 0\r\n\r\n",
    b"/v1/moved-to-port": b"HTTP/1.1 302 Found\r\nLocation: http://h:99999/\r\nContent-Length: 0\r\n\r\n",
    b"/v1/moved": b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.example/x\r\nContent-Length: 0\r\n\r\n",
    b"/v1/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    b"/v1/empty": b"HTTP/1.1 204 No Content\r\n\r\n",
    b"/v1/not-modified": b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n',
    b"/v1/no-type": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"/v1/rubbish": b"SSH-2.0-OpenSSH_9.2\r\n\r\n\r\n",
    b"/v1/to-the-end": b"HTTP/1.1 200 OK\r\n\r\nall there is",
    b"/v1/cut-length": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
    b"/v1/cut-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
    b"/socket": (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    ),
    b"/feed": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: hello\n\n",
    b"/v1/split": b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 2\r\n\r\nok",
}


CUT_SHORT = frozenset({b"/v1/to-the-end", b"/v1/cut-length", b"/v1/cut-chunk", b"/socket"})
"""After these the backend closes."""
SILENT = b"/feed"
"""After this it says no more, and tells by `listener_left` when the BFF has closed."""
listener_left = threading.Event()


@pytest.fixture(scope="session")
def gateway_by_door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Door], Gateway]]:
    """Starts the gateway with a door when it is first asked for, and keeps it for the run: each file asks for both."""
    with ExitStack() as parts:

        @cache
        def start(door: Door) -> Gateway:
            backend = parts.enter_context(RawBackend(echo))
            bff = start_gateway(tmp_path_factory.mktemp("gateway"), backend, door=door)
            parts.callback(bff.stop)
            sessions, session_id = put_session(bff)
            return Gateway(bff, backend, session_id, sessions, door=door)

        yield start


@pytest.fixture(scope="session", params=DOORS)
def gateway_process(request: pytest.FixtureRequest, gateway_by_door: Callable[[Door], Gateway]) -> Gateway:
    """The gateway for the run, once with each door; tests take `gateway`."""
    return gateway_by_door(request.param)


@pytest.fixture
def gateway(gateway_process: Gateway) -> Gateway:
    """The run's gateway, its backend having recorded nothing yet."""
    gateway_process.take_requests()
    return gateway_process


def start_gateway(
    directory: Path,
    backend: RawBackend,
    *,
    settings: Mapping[str, Any] | None = None,
    forward_auth: Sequence[Mapping[str, Any]] = (),
    door: Door = "worker",
) -> Bff:
    """Starts a BFF with `ROUTES` in front of `backend`. Its provider is down, which no proxied call may mind."""
    base = {"cors": {"allow_origins": [ALLOWED_ORIGIN]}, "headers": {"strip": ["X-Internal-Secret"]}}
    routes = {
        "services": {
            "recorder": {"base_url": backend.url, "token": {"mode": "none"}},
            "user_service": {"base_url": backend.url, "token": {"mode": "user"}},
        },
        "routes": [{"target_service": "recorder", "authz": "none", **route} for route in ROUTES["routes"]],
        "forward_auth": [dict(entry) for entry in forward_auth],
    }
    return start_bff(
        directory,
        issuer=f"http://127.0.0.1:{find_closed_port()}",
        client=BASIC_CLIENT,
        backend_url=backend.url,
        workers=1,
        settings=merge(base, settings or {}),
        routes=routes,
        door=door,
    )


def put_session(bff: Bff) -> tuple[SessionStore, str]:
    """Makes a session with a user token in the BFF's own store; returns the store and the session's id."""
    state = DirectoryStateStore(bff.state_directory, time.time)
    key_ring = KeyRing.load(build_default_key_file(bff.state_directory))
    sessions = SessionStore(state, key_ring, settings=SessionSettings(), clock=time.time)
    session_id, _ = sessions.create(
        NewSession(user_id="alice", subject="alice", provider="test", issuer=bff.issuer, claims={"name": "Alice Ä"})
    )
    tokens = TokenStore(state, key_ring, clock=time.time)
    token = TokenSet(
        access_token=USER_TOKEN,
        token_type="Bearer",
        expires_at=time.time() + 3600,
        refresh_token=None,
        id_token=None,
        scope="openid",
    )
    assert tokens.save(sessions.session_key(session_id), token, 3600)
    return sessions, session_id
