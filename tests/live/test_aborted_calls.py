"""Browsers that go away in the middle of a call (O2): nobody is logged out, and nothing of it is our error."""

from __future__ import annotations

import random
import socket
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.live.test_workers import only
from tests.support.bff import WORKERS, Stack
from tests.support.browser_client import CALL_HEADERS, BrowserClient
from tests.support.log_lines import read_lines, wait_for_lines

pytestmark = pytest.mark.live

ABORTS = 240
AT_ONCE = 24
TARGETS = ("/api/profile/whoami", "/api/crud/forms", "/api/auth/session", "/api/me/sessions")


def build_request(browser: BrowserClient, target: str) -> bytes:
    host = browser.origin.removeprefix("http://")
    lines = [f"GET {target} HTTP/1.1", f"Host: {host}", f"Cookie: bff_session={browser.session_cookie()}"]
    lines += [f"{name}: {value}" for name, value in CALL_HEADERS.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def abort(port: int, request: bytes, moment: str) -> None:
    """Sends a request, or half of one, and resets the connection at that moment."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(request[: len(request) // 2] if moment == "half sent" else request)
        if moment == "answer begun":
            connection.recv(10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close sends a reset


def test_o2_browsers_that_abort_lose_no_session_and_are_no_error_of_ours(stack: Stack) -> None:
    browsers = [stack.log_in(user) for user in ("alice", "bob", "carol")]
    log = stack.bff.child.log_path
    lines_before = len(read_lines([log]))
    workers_before = stack.bff.wait_for_workers(WORKERS)
    choice = random.Random(2)
    plan = [
        (
            build_request(choice.choice(browsers), choice.choice(TARGETS)),
            choice.choice(("half sent", "all sent", "answer begun")),
        )
        for _ in range(ABORTS)
    ]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(lambda planned: abort(stack.bff.port, *planned), plan))

    for browser in browsers:
        assert browser.is_logged_in()
        assert browser.get("/api/profile/whoami").status_code == 200
    assert stack.bff.worker_pids() == workers_before
    # Each worker writes its lines in order: with that of its last call, everything before has been written.
    for serving in workers_before:
        browsers[0].http.close()
        with only(serving, workers_before):
            last = browsers[0].get("/api/profile/whoami").headers["X-Correlation-ID"]
            browsers[0].http.close()
        wait_for_lines([log], log="access", request_id=last)
    written = read_lines([log])[lines_before:]
    assert [line for line in written if line.get("status") == 200]
    complaints = [line for line in written if line.get("level") in ("warning", "error", "critical")]
    assert complaints == []
    assert not [line for line in written if line.get("status", 0) >= 500]
