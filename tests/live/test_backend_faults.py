"""A backend that is down, slow or broken is answered with our code in bounded time, and costs nobody a session."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import requests

from tests.support.bff import Bff, Stack, build_route, start_bff
from tests.support.browser_client import BrowserClient
from tests.support.doors import DOORS
from tests.support.processes import free_port
from tests.support.raw_backend import Conversation, RawBackend, answering_always, find_closed_port

pytestmark = pytest.mark.live

READ_TIMEOUT_SECONDS = 1
CUT_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nContent-Type: text/plain\r\n\r\nonly ten b"
INJECTING_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Name: a\rSet-Cookie: bff_session=x\r\n\r\nok"
FEED_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
COOKIE_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: bff_session=stolen; Path=/\r\n"
    b"X-BFF-Error: not_authenticated\r\nClear-Site-Data: *\r\n\r\nok"
)


def never_answering(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.wait_for_end()


def cutting(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.send(CUT_ANSWER)


def resetting(conversation: Conversation) -> None:
    conversation.read_request()
    conversation.reset()


listener_left = threading.Event()


def feeding(conversation: Conversation) -> None:
    """A feed that begins and then has nothing to say, until its listener is gone."""
    conversation.read_request()
    conversation.send(FEED_HEAD + b"data: hello\n\n")
    conversation.wait_for_end()
    listener_left.set()


SCRIPTS = {
    "feed": feeding,
    "slow": never_answering,
    "reset": resetting,
    "cut": cutting,
    "garbage": answering_always(b"\x00\x01 this is no HTTP\r\n\r\n"),
    "injecting": answering_always(INJECTING_ANSWER),
    "cookie": answering_always(COOKIE_ANSWER),
}


@pytest.fixture(scope="module", params=DOORS)
def bff(
    request: pytest.FixtureRequest, stack_process: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bff]:
    """A BFF with one route to each kind of faulty backend, and to one that works."""
    with ExitStack() as parts:
        urls = {name: parts.enter_context(RawBackend(script)).url for name, script in SCRIPTS.items()}
        urls["down"] = f"http://127.0.0.1:{find_closed_port()}"
        urls["fine"] = stack_process.backend_url
        port = free_port()
        started = start_bff(
            tmp_path_factory.mktemp("faults"),
            issuer=stack_process.op.issuer,
            client=stack_process.op.register_client(f"http://localhost:{port}"),
            backend_url=stack_process.backend_url,
            port=port,
            workers=1,
            door=request.param,
            routes=build_routes_to(urls),
        )
        parts.callback(started.stop)
        yield started


def build_routes_to(urls: dict[str, str]) -> dict[str, Any]:
    patient = {"connect_timeout_seconds": 1, "read_timeout_seconds": READ_TIMEOUT_SECONDS, "retry": 0}
    breaker = {"circuit_breaker": {"failures": 1000, "reset_seconds": 1}}
    services = {name: {"base_url": url, "token": {"mode": "none"}, **patient, **breaker} for name, url in urls.items()}
    return {
        "services": services,
        "routes": [build_route(f"/api/{name}/*", name, "/{path}", streaming=name == "feed") for name in urls],
    }


@pytest.fixture(scope="module")
def alice(bff: Bff) -> Iterator[BrowserClient]:
    with BrowserClient(bff.origin) as browser:
        browser.log_in("alice")
        yield browser


@pytest.mark.parametrize(
    ("backend", "status", "code"),
    [
        pytest.param("down", 502, "upstream_unreachable", id="down"),
        pytest.param("slow", 504, "upstream_timeout", id="slow"),
        pytest.param("garbage", 502, "upstream_bad_response", id="no-http"),
        pytest.param("injecting", 502, "upstream_bad_response", id="bare-CR-in-a-header"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_faulty_backend_is_told_with_a_code(
    alice: BrowserClient, backend: str, status: int, code: str, method: str
) -> None:
    answer = alice.call(method, f"/api/{backend}/x")
    assert (answer.status_code, answer.headers.get("X-BFF-Error")) == (status, code), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == code
    assert problem["request_id"] == answer.headers["X-Correlation-ID"]
    assert "Set-Cookie" not in answer.headers
    assert_still_serving(alice)


def test_a_connection_that_is_reset_is_told_with_a_code(alice: BrowserClient) -> None:
    answer = alice.post("/api/reset/x")
    assert answer.status_code == 502
    assert answer.headers["X-BFF-Error"] in ("upstream_unreachable", "upstream_bad_response")
    assert_still_serving(alice)


def test_an_answer_that_is_cut_off_does_not_look_complete(alice: BrowserClient) -> None:
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
        alice.get("/api/cut/x")
    assert_still_serving(alice)


def test_a_backend_cannot_speak_in_our_name(alice: BrowserClient) -> None:
    answer = alice.get("/api/cookie/x")
    assert answer.status_code == 200
    assert {"Set-Cookie", "X-BFF-Error", "Clear-Site-Data"}.isdisjoint(answer.headers)
    assert_still_serving(alice)


def test_a_listener_that_leaves_is_let_go_at_the_backend(alice: BrowserClient) -> None:
    listener_left.clear()
    answer = alice.get("/api/feed/x", stream=True)
    lines = answer.iter_lines(chunk_size=1)  # held: letting it go would close the connection
    assert next(lines) == b"data: hello"
    assert not listener_left.is_set()
    answer.close()
    assert listener_left.wait(10), "the connection to the backend ends with the one to the browser"


def assert_still_serving(browser: BrowserClient) -> None:
    assert browser.is_logged_in()
    assert browser.get("/api/fine/forms").status_code == 200
