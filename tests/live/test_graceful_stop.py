"""On SIGTERM calls under way are finished, new ones are refused, and sessions are there after the next start."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.bff import Bff, Stack, start_bff
from tests.support.browser_client import BrowserClient
from tests.support.processes import free_port, is_answering, wait_until

pytestmark = pytest.mark.live


def test_a_call_under_way_is_finished_and_sessions_survive(stack: Stack, tmp_path: Path) -> None:
    port = free_port()
    client = stack.op.register_client(f"http://localhost:{port}")

    def start() -> Bff:
        return start_bff(
            tmp_path / "bff",
            issuer=stack.op.issuer,
            client=client,
            backend_url=stack.backend_url,
            port=port,
            workers=2,
            settings={"server": {"graceful_timeout_seconds": 20}},
        )

    first = start()
    alice = BrowserClient(first.origin)
    try:
        alice.log_in("alice")
        gate, answers = threading.Event(), list[requests.Response]()
        started = threading.Event()

        def slow_body() -> Iterator[bytes]:
            yield b"first half, "
            started.set()
            gate.wait(30)
            yield b"second half"

        upload = threading.Thread(target=lambda: answers.append(alice.post("/api/crud/files", data=slow_body())))
        upload.start()
        assert started.wait(30)
        os.kill(first.child.pid, signal.SIGTERM)
        wait_until(
            lambda: not is_answering(f"http://127.0.0.1:{port}/health/live"), timeout_seconds=10, what="closed doors"
        )
        gate.set()
        upload.join()
        assert answers[0].status_code == 200, answers[0].text
        assert answers[0].json()["bytes"] == len(b"first half, second half")
    finally:
        first.stop()

    second = start()
    try:
        assert alice.is_logged_in()
    finally:
        second.stop()
