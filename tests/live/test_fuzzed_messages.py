"""Whatever bytes come from a client or from a backend: never a 500, never a hang, never two upstream requests for one.

Messages are well-formed ones with a few of their bytes changed, moved or repeated: what is random from the start ends
at the first line.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.bff import build_route, start_bff
from tests.support.fuzzing import LONG, MOMENT, try_for_long
from tests.support.gateway import Gateway, put_session
from tests.support.raw_backend import Conversation, RawBackend, find_closed_port
from tests.support.real_op import BASIC_CLIENT

pytestmark = pytest.mark.live

MOST_SECONDS = 15
"""More than the time that the BFF gives a head; what takes longer hangs."""
STATUS_LINE = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")


def join(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


CHUNKS = b"5\r\nhello\r\n3;a=b\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"
HOST, COOKIE = "Host: @HOST@", "Cookie: @COOKIE@"
PREFLIGHT = ("Origin: http://localhost:5173", "Access-Control-Request-Method: GET")
REQUESTS = [
    join("GET /public/x?y=1 HTTP/1.1", HOST, "Accept: */*"),
    join("POST /public/x HTTP/1.1", HOST, "Content-Length: 5", body=b"hello"),
    join("POST /public/x HTTP/1.1", HOST, "Transfer-Encoding: chunked", body=CHUNKS),
    join("GET /api/crud/x HTTP/1.1", HOST, COOKIE, "Connection: keep-alive, X-Mine", "X-Mine: 1"),
    join("PUT /public/x HTTP/1.1", HOST, "Expect: 100-continue", "Content-Length: 3", body=b"abc"),
    join("HEAD /api/read HTTP/1.0", HOST, COOKIE),
    join("OPTIONS /api/crud/x HTTP/1.1", HOST, *PREFLIGHT),
    join("GET /api/auth/session HTTP/1.1", HOST, "Upgrade: websocket", "Connection: Upgrade"),
]
HINTS = join("HTTP/1.1 103 Early Hints", "Link: </a>")
PART = ("Content-Encoding: gzip", "Content-Range: bytes 0-1/2", "Content-Length: 2")
ANSWERS = [
    join("HTTP/1.1 200 OK", "Content-Type: text/plain", "Content-Length: 5", body=b"hello"),
    join("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=CHUNKS),
    HINTS + join("HTTP/1.1 200 OK", "Connection: close", body=b"to the end"),
    join("HTTP/1.0 404 Not Found", "Set-Cookie: a=b", "Location: /v1/x", "Content-Length: 2", body=b"no"),
    join("HTTP/1.1 304 Not Modified", 'ETag: "1"', "Vary: Accept, Origin"),
    join("HTTP/1.1 206 Partial Content", *PART, body=b"\x1f\x8b"),
]
SECOND = join("GET /public/second HTTP/1.1", HOST)
SIGNS = [b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b"\x00", b"\x0b", b"\xff", b":", b",", b"%2e%2e/"]
NUMBERS = [b"0", b"-1", b"+5", b"0x5", b"9" * 30, b"f" * 17]
FRAMING = [
    b"Content-Length: 5\r\n",
    b"Content-Length: 99\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"chunked",
    b"identity",
]
WORDS = [b"HTTP/1.1", b"HTTP/2.0", b"HTTP/1.1 200 OK\r\n\r\n", b"\r\n folded", b"Host: evil.example\r\n", SECOND]
BULK = [b"A" * 9000, b"X: y\r\n" * 120]
TOKENS = st.sampled_from([*SIGNS, *NUMBERS, *FRAMING, *WORDS, *BULK])


@st.composite
def changed(draw: st.DrawFn, messages: list[bytes]) -> bytes:
    """One of `messages` with up to four changes."""
    message = draw(st.sampled_from(messages))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(message)))
        length = draw(st.sampled_from([0, 0, 0, 1, 1, 2, 7]))
        put = draw(TOKENS | st.binary(max_size=2) | st.just(message[at : at + 20]))
        message = message[:at] + put + message[at + length :]
    return message


def send_and_end(gateway: Gateway, message: bytes) -> bytes:
    """Sends it and then nothing more; whatever comes back until the BFF closes."""
    raw = message.replace(b"@HOST@", gateway.host.encode()).replace(b"@COOKIE@", gateway.cookie.encode())
    received = b""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=MOST_SECONDS) as connection:
        try:
            connection.sendall(raw)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                received += piece
        except TimeoutError:
            raise  # it hangs
        except OSError:
            pass  # refused before it was read to its end: reset, or closed before it could be shut
    return received


def check_request(gateway: Gateway, message: bytes) -> None:
    received = send_and_end(gateway, message)
    statuses = [int(found) for found in STATUS_LINE.findall(received)]
    sent = gateway.take_requests()
    assert not {500, 501, 502, 504} & set(statuses), received[:300]
    # Who goes away before the answer may have been served once more than was answered.
    assert len(sent) <= len(statuses) + 1
    assert len(sent) <= message.count(b"HTTP/1.")
    assert all(re.match(rb"[A-Z]+ /[!-~]* HTTP/1\.1\r\n", request.head) for request in sent)
    assert all(request.head.lower().count(b"\r\nhost:") == 1 for request in sent)


@MOMENT
@example(message=REQUESTS[1] + REQUESTS[0])
@example(message=REQUESTS[2].replace(b"\r\n\r\n5", b"\r\nContent-Length: 5\r\n\r\n5", 1))
@given(message=changed(REQUESTS))
def test_no_request_makes_more_of_itself(gateway: Gateway, message: bytes) -> None:
    check_request(gateway, message)


def test_the_workers_have_lived_through_it(gateway: Gateway) -> None:
    assert "Traceback" not in gateway.bff.child.read_log()
    assert gateway.call("GET", "/public/x").status == 200


@pytest.mark.long
@pytest.mark.timeout(0)
def test_no_request_makes_more_of_itself_for_long(gateway: Gateway) -> None:
    @LONG
    @given(message=changed(REQUESTS))
    def prove(message: bytes) -> None:
        check_request(gateway, message)

    assert try_for_long(prove) > 0
    assert gateway.call("GET", "/public/x").status == 200


# --- the other parser: what a backend answers ---


class Parrot:
    """Answers each request with whatever it was given, and closes."""

    def __init__(self) -> None:
        self.answer = b""

    def __call__(self, conversation: Conversation) -> None:
        conversation.read_request()
        conversation.send(self.answer)
        conversation.socket.shutdown(socket.SHUT_WR)
        conversation.wait_for_end()


@pytest.fixture(scope="module")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Parrot, Gateway]]:
    """A BFF whose circuit breaker keeps out of it."""
    script = Parrot()
    with RawBackend(script) as backend:
        service = {"base_url": backend.url, "token": {"mode": "none"}, "circuit_breaker": {"failures": 1_000_000}}
        bff = start_bff(
            tmp_path_factory.mktemp("parrot"),
            issuer=f"http://127.0.0.1:{find_closed_port()}",
            client=BASIC_CLIENT,
            backend_url=backend.url,
            workers=1,
            routes={"services": {"parrot": service}, "routes": [build_route("/api/crud/*", "parrot", "/v1/{path}")]},
        )
        try:
            sessions, session_id = put_session(bff)
            yield script, Gateway(bff, backend, session_id, sessions)
        finally:
            bff.stop()


def check_answer(parrot: tuple[Parrot, Gateway], answer: bytes) -> None:
    script, gateway = parrot
    script.answer = answer
    received, sent = send_and_wait(gateway), gateway.take_requests()
    assert len(sent) == 1
    if not received:  # the answer broke off before anything of it had been passed on
        return
    status = STATUS_LINE.match(received)
    assert status is not None
    assert status.group(1) != b"500"
    head = received.partition(b"\r\n\r\n")[0].lower()
    assert head.count(b"\r\ncontent-length:") + head.count(b"\r\ntransfer-encoding:") <= 1
    assert b"\r\nset-cookie:" not in head
    assert not re.search(rb"\r[^\n]|[^\r]\n|\x00", head)


def send_and_wait(gateway: Gateway) -> bytes:
    request = (
        f"GET /api/crud/x HTTP/1.1\r\nHost: {gateway.host}\r\nCookie: {gateway.cookie}\r\nConnection: close\r\n\r\n"
    )
    received = b""
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=MOST_SECONDS) as connection:
        connection.sendall(request.encode())
        try:
            while piece := connection.recv(65536):
                received += piece
        except ConnectionResetError:
            pass  # an answer that broke off is broken off here too
    return received


@MOMENT
@given(answer=changed(ANSWERS))
def test_no_answer_of_a_backend_breaks_the_bff(parrot: tuple[Parrot, Gateway], answer: bytes) -> None:
    check_answer(parrot, answer)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_no_answer_of_a_backend_breaks_the_bff_for_long(parrot: tuple[Parrot, Gateway]) -> None:
    @LONG
    @given(answer=changed(ANSWERS))
    def prove(answer: bytes) -> None:
        check_answer(parrot, answer)

    assert try_for_long(prove) > 0
