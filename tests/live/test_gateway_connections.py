"""What a connection carries, over both doors: several calls, bodies in both directions, answers that break off."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext

import pytest

from tests.support.gateway import Gateway, listener_left, parse_answer
from tests.support.processes import wait_until
from tests.support.wire import Wire

pytestmark = pytest.mark.live


@pytest.fixture
def wire(gateway: Gateway) -> Iterator[Wire]:
    with closing(Wire(gateway.bff)) as opened:
        yield opened


at_the_worker_door = pytest.mark.parametrize("gateway_process", ["worker"], indirect=True, scope="session")
"""For what gunicorn decides at the other one."""


def log_in(gateway: Gateway) -> list[str]:
    return [f"Cookie: {gateway.cookie}", f"X-CSRF-Token: {gateway.csrf_token}"]


def test_calls_of_every_kind_share_a_connection(gateway: Gateway, wire: Wire) -> None:
    """Proxied ones, own endpoints, refusals, and answers without a body; and the connection stays in step."""
    lines = log_in(gateway)
    for request_line, status in [
        ("GET /api/crud/x HTTP/1.1", 200),
        ("GET /health/live HTTP/1.1", 200),
        ("HEAD /api/crud/x HTTP/1.1", 200),
        ("GET /api/crud/chunked HTTP/1.1", 200),
        ("GET /api/crud/empty HTTP/1.1", 204),
        ("GET /nowhere HTTP/1.1", 404),
        ("GET /api/crud/not-modified HTTP/1.1", 304),
        ("HEAD /api/crud/chunked HTTP/1.1", 200),
        ("TRACE /api/crud/x HTTP/1.1", 405),
        ("GET /api/auth/session HTTP/1.1", 200),
        ("POST /api/crud/x HTTP/1.1", 200),
    ]:
        wire.ask(request_line, *lines)
        answer = wire.read_answer(request_line.split()[0])
        assert (request_line, answer.status) == (request_line, status)
        assert answer.get("Connection") == "keep-alive"


def test_calls_that_arrive_together_are_answered_in_order(gateway: Gateway, wire: Wire) -> None:
    targets = ["/api/crud/x", "/health/live", "/nowhere", "/public/x", "/api/crud/chunked"] * 4
    common = f"Host: {gateway.host}\r\nCookie: {gateway.cookie}\r\n"
    heads = [f"GET {path} HTTP/1.1\r\n{common}X-Correlation-ID: n-{n}\r\n\r\n" for n, path in enumerate(targets)]
    wire.send("".join(heads).encode())
    assert [wire.read_answer().get("X-Correlation-ID") for _ in heads] == [f"n-{n}" for n in range(len(heads))]


def test_http_1_0_is_answered_in_its_own_version(gateway: Gateway, wire: Wire) -> None:
    wire.ask("GET /api/crud/x HTTP/1.0", *log_in(gateway), "Connection: keep-alive")
    answer = wire.read_answer()
    assert (answer.status, answer.body, answer.get("Connection")) == (200, b"{}", "keep-alive")
    wire.ask("GET /api/crud/chunked HTTP/1.0", *log_in(gateway), "Connection: keep-alive")
    received = wire.read_to_end()
    assert received.startswith(b"HTTP/1.0 200 OK\r\n")
    assert received.endswith(b"\r\n\r\nabcde"), "no chunks before HTTP/1.1; the end of the connection is the body's"
    assert parse_answer(received).get("Connection") == "close"


def test_an_answer_without_framing_reaches_its_end(gateway: Gateway, wire: Wire) -> None:
    wire.ask("GET /api/crud/to-the-end HTTP/1.1", *log_in(gateway))
    assert wire.read_answer().body == b"all there is"


@pytest.mark.parametrize("target", ["/api/crud/x", "/health/live"])
@pytest.mark.parametrize(
    "lines",
    [
        ["Connection: close"],
        ["Connection: TE, close"],
        ["Connection: Close, keep-alive"],
        ["Connection: keep-alive", "Connection: close"],
    ],
)
def test_a_client_that_wants_no_more_is_let_go(gateway: Gateway, wire: Wire, target: str, lines: list[str]) -> None:
    """RFC 9112 §9.6: wherever `close` stands among the options, nothing behind the request is a request."""
    head = "\r\n".join([f"GET {target} HTTP/1.1", f"Host: {gateway.host}", *log_in(gateway), *lines, "", ""])
    behind = f"GET /public/behind HTTP/1.1\r\nHost: {gateway.host}\r\n\r\n"
    wire.send(f"{head}{behind}".encode())  # at once: bytes that come later meet a closed end, and reset it
    answer = parse_answer(wire.read_to_end())
    assert (answer.status, answer.get("Connection")) == (200, "close")
    assert all(b"behind" not in request.request_line for request in gateway.take_requests())


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("path", ["cut-length", "cut-chunk"])
def test_an_answer_that_breaks_off_does_not_look_whole(gateway: Gateway, wire: Wire, path: str, version: str) -> None:
    wire.ask(f"GET /api/crud/{path} HTTP/{version}", *log_in(gateway))
    if (path, version) == ("cut-chunk", "1.0"):
        # Nothing but the end of the connection frames it, so that has to tell; a WSGI server can only close.
        with pytest.raises(ConnectionResetError) if gateway.door == "worker" else nullcontext():
            wire.read_to_end()
        return
    received = wire.read_to_end()
    assert b"only this" in received
    assert b"\r\n0\r\n" not in received


def reset(wire: Wire) -> None:
    with wire.detach() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close sends a reset


@pytest.mark.parametrize("leave", [Wire.close, Wire.stop_sending, reset], ids=["close", "half-close", "reset"])
def test_a_silent_stream_ends_at_the_backend_when_its_listener_leaves(
    gateway: Gateway, wire: Wire, leave: Callable[[Wire], None]
) -> None:
    listener_left.clear()
    wire.ask("GET /feed HTTP/1.1", *log_in(gateway))
    wire.wait_for(b"data: hello")
    assert not listener_left.is_set()
    leave(wire)
    assert listener_left.wait(10)
    assert gateway.call("GET", "/api/crud/x").status == 200


def test_a_small_body_that_nobody_read_does_not_end_the_connection(gateway: Gateway, wire: Wire) -> None:
    wire.ask("POST /api/read HTTP/1.1", *log_in(gateway), "Content-Length: 24")
    wire.send(b"GET /smuggled HTTP/1.1\r\n")
    assert wire.read_answer().status == 405
    wire.ask("GET /api/crud/x HTTP/1.1", *log_in(gateway))
    assert wire.read_answer().status == 200
    assert [request.request_line for request in gateway.take_requests()] == [b"GET /v1/x HTTP/1.1"]


@pytest.mark.parametrize("framing", ["Content-Length: 8000000", "Transfer-Encoding: chunked"])
def test_a_refusal_of_a_large_body_is_read_by_its_sender(gateway: Gateway, wire: Wire, framing: str) -> None:
    """Closing at once would reset the connection, and take the answer away from a client that is still sending."""
    wire.ask("POST /api/kept/x HTTP/1.1", *log_in(gateway), framing)
    piece = b"x" * 100_000 if framing.startswith("Content") else b"186a0\r\n" + b"x" * 100_000 + b"\r\n"
    for _ in range(80):
        wire.send(piece)
    answer = wire.read_answer()
    assert (answer.status, answer.code) == (413, "body_too_large")
    if answer.get("Connection") == "close":
        assert wire.read_to_end() == b""
    assert gateway.call("GET", "/api/crud/x").status == 200


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_a_body_that_ends_early_is_no_request_for_a_backend(gateway: Gateway, wire: Wire, framing: str) -> None:
    wire.ask("POST /api/crud/x HTTP/1.1", *log_in(gateway), framing)
    wire.send(b"3\r\nabc")
    wire.stop_sending()
    answer = parse_answer(wire.read_to_end())
    assert (answer.status, answer.code) == (400, "bad_request")
    assert gateway.take_requests() == []


def test_a_body_goes_through_whole_whatever_its_framing(gateway: Gateway, wire: Wire) -> None:
    content = bytes(range(256)) * 1200
    wire.ask("POST /api/crud/x HTTP/1.1", *log_in(gateway), f"Content-Length: {len(content)}")
    wire.send(content)
    assert wire.read_answer().status == 200
    wire.ask("POST /api/crud/x HTTP/1.1", *log_in(gateway), "Transfer-Encoding: chunked")
    for start in range(0, len(content), 70_000):
        piece = content[start : start + 70_000]
        wire.send(b"%x;name=value\r\n%b\r\n" % (len(piece), piece))
    wire.send(b"0\r\nX-Trailer: 1\r\n\r\n")
    assert wire.read_answer().status == 200
    wire.ask("GET /api/crud/x HTTP/1.1", *log_in(gateway))
    assert wire.read_answer().status == 200
    assert [request.body for request in gateway.take_requests()] == [content, content, b""]


@at_the_worker_door
def test_a_client_is_told_to_send_its_body_only_once_it_is_wanted(gateway: Gateway, wire: Wire) -> None:
    wire.ask("POST /api/crud/x HTTP/1.1", *log_in(gateway), "Content-Length: 5", "Expect: 100-continue")
    assert wire.read_answer().status == 100
    wire.send(b"hello")
    assert wire.read_answer().status == 200
    assert [request.body for request in gateway.take_requests()] == [b"hello"]
    wire.ask("POST /api/crud/x HTTP/1.1", "Content-Length: 5", "Expect: 100-continue")
    answer = wire.read_answer()
    assert (answer.status, answer.get("Connection")) == (401, "close"), "what the client sends next could be anything"
    assert wire.read_to_end() == b""


@at_the_worker_door
def test_a_body_that_is_here_already_needs_no_invitation(gateway: Gateway, wire: Wire) -> None:
    lines = [*log_in(gateway), f"Host: {gateway.host}", "Content-Length: 5", "Expect: 100-continue"]
    wire.send("\r\n".join(["POST /api/crud/x HTTP/1.1", *lines, "", "hello"]).encode())
    assert wire.read_answer().status == 200


@at_the_worker_door
@pytest.mark.parametrize("framing", ["Content-Length: 200000", "Transfer-Encoding: chunked"])
def test_a_backend_gets_each_piece_of_a_body_as_it_comes(gateway: Gateway, wire: Wire, framing: str) -> None:
    wire.ask("POST /api/crud/pieces HTTP/1.1", *log_in(gateway), framing)
    is_chunked = framing.startswith("Transfer")
    for piece in (b"first piece", b"second piece"):
        wire.send(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
        wait_until(
            lambda piece=piece: any(piece in bytes(recorded) for recorded in gateway.backend.recordings),  # type: ignore[misc]
            timeout_seconds=10,
            what="the piece at the backend",
        )
    gateway.take_requests()


@at_the_worker_door
def test_repeated_lines_reach_a_backend_as_they_are(gateway: Gateway) -> None:
    gateway.call("GET", "/api/crud/x", "X-Tag: a", "X-Tag: b, c")
    [request] = gateway.take_requests()
    assert request.get_all("X-Tag") == [b"a", b"b, c"]


@at_the_worker_door
def test_a_plain_call_takes_the_fast_lane_and_anything_else_does_not(gateway: Gateway) -> None:
    """gunicorn's parser writes names in capitals, and what it read we spell anew; the fast lane leaves them alone."""
    for method, expected in [("GET", b"x-oDD: 1"), ("DELETE", b"x-oDD: 1"), ("POST", b"X-Odd: 1")]:
        gateway.call(method, "/api/crud/x", "x-oDD: 1")
        [request] = gateway.take_requests()
        assert expected in request.header_lines, method


def test_no_line_comes_twice(gateway: Gateway) -> None:
    """`Date` and `Server` are the door's to write, whatever the backend said."""
    for target in ("/api/crud/x", "/nowhere", "/health/live", "/api/crud/chunked"):
        names = [name.lower() for name, _ in gateway.call("GET", target).headers]
        assert len(names) == len(set(names)), target
        assert {"server", "date", "connection"} <= set(names), target
