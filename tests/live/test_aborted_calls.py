"""Browsers that go away in the middle of a call (O2): nobody is logged out, and nothing of it is our error."""

from __future__ import annotations

import json
import random
import socket
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.bff import Stack
from tests.support.browser_client import CALL_HEADERS, BrowserClient
from tests.support.processes import wait_until

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
    log = stack.bff.directory / "logs" / "bff.log"
    length_before = log.stat().st_size
    workers_before = stack.bff.worker_pids()
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
    # The access line of the very last call: everything before it has been written.
    last = browsers[0].get("/api/profile/whoami").headers["X-Correlation-ID"]
    wait_until(lambda: last in log.read_text("utf-8")[length_before:], timeout_seconds=10, what="the last access line")
    written = [json.loads(line) for line in log.read_text("utf-8")[length_before:].splitlines() if line.startswith("{")]
    assert [line for line in written if line.get("status") == 200]
    complaints = [line for line in written if line.get("level") in ("warning", "error", "critical")]
    assert complaints == []
    assert not [line for line in written if line.get("status", 0) >= 500]
