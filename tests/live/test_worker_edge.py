"""The edges of a connection, over raw sockets: heads that do not come, bodies nobody reads, refusals of the parser."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tests.support.bff import Bff, build_route, start_bff
from tests.support.gateway import parse_answer
from tests.support.log_lines import wait_for_lines
from tests.support.raw_backend import find_closed_port
from tests.support.real_op import BASIC_CLIENT
from tests.support.wire import Wire

pytestmark = pytest.mark.live

HEADER_TIMEOUT_SECONDS = 1.0
KEEPALIVE_SECONDS = 2.0
SECRET = "Zm9yLXlvdXItZXllcy1vbmx5"


@pytest.fixture(scope="module")
def bff(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bff]:
    """One worker with short waits; neither a provider nor a backend is there."""
    closed = f"http://127.0.0.1:{find_closed_port()}"
    running = start_bff(
        tmp_path_factory.mktemp("edge"),
        issuer=closed,
        client=BASIC_CLIENT,
        backend_url=closed,
        workers=1,
        settings={
            "server": {
                "header_timeout_seconds": HEADER_TIMEOUT_SECONDS,
                "keepalive_seconds": KEEPALIVE_SECONDS,
                "body_timeout_seconds": 1,
            }
        },
        routes={
            "services": {"nobody": {"base_url": closed}},
            "routes": [build_route("/public/*", "nobody", "/{path}", auth="none", max_body_bytes=1000)],
        },
    )
    yield running
    running.stop()


@pytest.fixture
def wire(bff: Bff) -> Iterator[Wire]:
    with closing(Wire(bff)) as opened:
        yield opened


def read_metric(bff: Bff, name: str, **labels: str) -> float:
    with requests.Session() as session:
        session.trust_env = False
        text = session.get(f"{bff.internal_origin}/metrics", timeout=10).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items())


BROKEN_REQUESTS = [
    pytest.param(b"GET /health/live HTTP/1.1\r\nHost : a\r\n\r\n", 400, "bad_request", id="H20-space-before-colon"),
    pytest.param(b"GET /health/live HTTP/1.1\r\nX: a\r\n b\r\n\r\n", 400, "bad_request", id="H20-obs-fold"),
    pytest.param(b"GET /health/live HTTP/1.1\nHost: a\n\n", 400, "bad_request", id="H20-bare-lf"),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", 400, "bad_request", id="H20-xchunked"
    ),
    pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n1", 400, "bad_request", id="H20-plus"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "bad_request", id="two-hosts"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n", 400, "bad_request", id="expectation"),
    pytest.param(b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request", id="method"),
    pytest.param(b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "bad_request", id="P13-nul"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400, "bad_request", id="tls"),
    pytest.param(b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431, "headers_too_large", id="H24-200-headers"),
    pytest.param(b"GET / HTTP/1.1\r\nA: " + b"b" * 9000 + b"\r\n\r\n", 431, "headers_too_large", id="H24-9-KB-header"),
    pytest.param(b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", 414, "uri_too_long", id="H24-5-KB-line"),
    pytest.param(
        b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n", 400, "bad_request", id="H8"
    ),
]


@pytest.mark.parametrize(("request_bytes", "status", "code"), BROKEN_REQUESTS)
def test_what_the_parser_refuses_is_answered_like_every_other_refusal(
    bff: Bff, wire: Wire, request_bytes: bytes, status: int, code: str
) -> None:
    wire.send(request_bytes)
    answer = parse_answer(wire.read_to_end())  # and the connection ends

    request_id = answer.get("X-Correlation-ID")
    assert (answer.status, answer.code) == (status, code)
    assert answer.get("Content-Type") == "application/problem+json"
    assert answer.get("Cache-Control") == "no-store"
    assert answer.get("Connection") == "close"
    assert json.loads(answer.body)["request_id"] == request_id
    assert wait_for_lines([bff.child.log_path], log="access", request_id=request_id, status=status, code=code)
    assert bff.is_live()


def test_what_the_parser_refuses_is_counted_and_not_quoted(bff: Bff, wire: Wire) -> None:
    before = read_metric(bff, "bff_refusals_total", code="bad_request")
    wire.send(f"GET /x HTTP/1.1\r\nCookie: bff_session={SECRET}\r\n{SECRET} y: {SECRET}\r\n\r\n".encode())
    answer = parse_answer(wire.read_to_end())

    assert answer.status == 400
    assert SECRET.encode() not in answer.body
    assert read_metric(bff, "bff_refusals_total", code="bad_request") == before + 1
    request_id = answer.get("X-Correlation-ID")
    bff.child.wait_until(
        lambda: bff.child.read_log().count(str(request_id)) == 2, timeout_seconds=10, what="both lines"
    )
    assert SECRET not in bff.child.read_log()


def test_a_refusal_reaches_a_client_that_is_still_sending(wire: Wire) -> None:
    """Closing at once would reset the connection and take the answer away from the client."""
    wire.send(b"GET / HTTP/1.1\r\nA: " + b"b" * 3_000_000)

    assert parse_answer(wire.read_to_end()).status == 431


@pytest.mark.parametrize(
    "begin", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: a\r\nA: "], ids=["nothing", "method", "header"]
)
def test_a_head_that_does_not_come_is_given_up(wire: Wire, begin: bytes) -> None:
    began = time.monotonic()
    wire.send(begin)

    assert wire.read_to_end() == b""
    assert time.monotonic() - began >= HEADER_TIMEOUT_SECONDS * 0.9


def test_a_head_that_drips_is_given_up_however_steadily_it_comes(wire: Wire) -> None:
    """Each byte comes well within the limit; all of them together do not."""
    wire.send(b"GET / HTTP/1.1\r\nA: ")
    began = time.monotonic()
    sender = wire.detach()
    sender.settimeout(0.1)
    ended = False
    with closing(sender):
        while not ended:
            assert time.monotonic() - began < 20 * HEADER_TIMEOUT_SECONDS
            try:
                sender.send(b"b")
                ended = sender.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                ended = True
    assert time.monotonic() - began >= HEADER_TIMEOUT_SECONDS * 0.9


def test_an_idle_connection_is_kept_for_as_long_as_the_setting_says(wire: Wire) -> None:
    """Longer than a head may take: between calls, silence is allowed."""
    wire.ask("GET /health/live HTTP/1.1")
    assert wire.read_answer().status == 200
    began = time.monotonic()
    assert wire.read_to_end() == b""
    assert time.monotonic() - began >= KEEPALIVE_SECONDS * 0.9


def test_a_slow_head_on_a_kept_connection_is_given_up_as_well(wire: Wire) -> None:
    wire.ask("GET /health/live HTTP/1.1")
    assert wire.read_answer().status == 200
    began = time.monotonic()
    wire.send(b"GET /health/live HTT")
    assert wire.read_to_end() == b""
    assert time.monotonic() - began < KEEPALIVE_SECONDS


def test_calls_that_arrive_together_are_answered_in_order(wire: Wire) -> None:
    """Pipelined bytes are in gunicorn's buffer, not in the socket: nothing may wait for them there."""
    began = time.monotonic()
    heads = [f"GET /health/live HTTP/1.1\r\nHost: a\r\nX-Correlation-ID: call-{n}\r\n\r\n" for n in range(20)]
    wire.send("".join(heads).encode())

    assert [wire.read_answer().get("X-Correlation-ID") for _ in heads] == [f"call-{n}" for n in range(20)]
    assert time.monotonic() - began < KEEPALIVE_SECONDS


@pytest.mark.parametrize("size", [10, 1000])
def test_a_body_that_nobody_read_is_not_taken_for_the_next_call(wire: Wire, size: int) -> None:
    wire.ask("POST /health/live HTTP/1.1", f"Content-Length: {size}")
    wire.send(b"GET /x HTT"[:10] * (size // 10))
    assert wire.read_answer().status == 405
    wire.ask("GET /health/live HTTP/1.1", "Connection: close")

    assert parse_answer(wire.read_to_end()).status == 200


@pytest.mark.parametrize("path", ["/auth/logout", "/public/x", "/health/live"])
def test_a_refusal_of_a_large_body_is_read_by_its_sender(wire: Wire, path: str) -> None:
    wire.ask(f"POST {path} HTTP/1.1", "Content-Length: 8000000", "Connection: close")
    for _ in range(80):
        wire.send(b"x" * 100_000)

    assert parse_answer(wire.read_to_end()).status in (405, 413)


def test_a_body_without_end_ends_the_connection(wire: Wire) -> None:
    wire.ask("POST /health/live HTTP/1.1", "Transfer-Encoding: chunked")
    assert wire.read_answer().status == 405
    began = time.monotonic()
    with pytest.raises(OSError):  # noqa: PT012 - which of the sends fails is up to the kernel
        while time.monotonic() - began < 30:
            wire.send(b"5\r\nxxxxx\r\n" * 10_000)


def test_a_malformed_chunk_in_an_unread_body_ends_the_connection(bff: Bff, wire: Wire) -> None:
    wire.ask("POST /health/live HTTP/1.1", "Transfer-Encoding: chunked")
    wire.send(b"zz\r\nGET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")

    received = wire.read_to_end()
    assert received.count(b"HTTP/1.1 ") == 1
    assert parse_answer(received).status == 405
    assert bff.is_live()


def test_a_form_that_stops_coming_is_refused(wire: Wire) -> None:
    wire.ask("POST /auth/logout HTTP/1.1", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 100")
    wire.send(b"csrf_token=x")
    answer = parse_answer(wire.read_to_end())

    assert (answer.status, answer.code) == (400, "bad_request")


def test_the_server_is_not_named(wire: Wire) -> None:
    wire.ask("GET /health/live HTTP/1.1", "Connection: close")
    received = wire.read_to_end().lower()

    assert b"gunicorn" not in received
    assert b"python" not in received


def test_a_hidden_path_and_a_missing_one_are_the_same_on_the_wire(bff: Bff) -> None:
    """O4: down to the order of the header lines."""

    def ask(path: str, method: str) -> bytes:
        with closing(Wire(bff)) as wire:
            wire.ask(f"{method} {path} HTTP/1.1", "X-Correlation-ID: same", "Connection: close")
            return b"\r\n".join(line for line in wire.read_to_end().split(b"\r\n") if not line.startswith(b"Date:"))

    for method in ("GET", "HEAD", "POST", "OPTIONS", "DELETE"):
        assert ask("/metrics", method) == ask("/nothing", method)
        assert ask("/admin/keys", method) == ask("/nothing/here", method)


def test_script_name_as_a_header_moves_nothing(wire: Wire) -> None:
    """P22."""
    wire.ask("GET /public/health/live HTTP/1.1", "SCRIPT_NAME: /public", "Script-Name: /public", "Connection: close")

    assert parse_answer(wire.read_to_end()).code == "upstream_unreachable"


def test_idle_connections_do_not_hold_up_a_stop(tmp_path: Path) -> None:
    closed = f"http://127.0.0.1:{find_closed_port()}"
    running = start_bff(
        tmp_path,
        issuer=closed,
        client=BASIC_CLIENT,
        backend_url=closed,
        workers=1,
        settings={"server": {"keepalive_seconds": 60, "header_timeout_seconds": 60, "graceful_timeout_seconds": 60}},
    )
    with closing(Wire(running, timeout_seconds=60)) as kept, closing(Wire(running, timeout_seconds=60)) as fresh:
        kept.ask("GET /health/live HTTP/1.1")
        assert kept.read_answer().status == 200
        began = time.monotonic()
        assert running.stop() == 0
        assert time.monotonic() - began < 30
        assert kept.read_to_end() == fresh.read_to_end() == b""
