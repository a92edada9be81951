"""On SIGTERM calls under way are finished, streams of events are told, new calls are refused, and sessions are there
after the next start."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.support.bff import Bff, Stack, build_route, start_bff
from tests.support.browser_client import BrowserClient
from tests.support.doors import DOORS, Door
from tests.support.log_lines import read_lines
from tests.support.processes import free_port, is_answering, wait_until
from tests.support.raw_backend import OK_ANSWER, Conversation, RawBackend, find_closed_port
from tests.support.real_op import BASIC_CLIENT
from tests.support.wire import Wire

pytestmark = pytest.mark.live

EVENT = b"id: 7\ndata: 1\n\n"
HALF_AN_EVENT = b"data: one line\n"
GRACE_SECONDS = 30


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


class Feed:
    """A backend's script. A stream is a whole event, and by its path half of another one; then nothing more comes."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()

    def __call__(self, conversation: Conversation) -> None:
        request = conversation.read_request()
        if b"/slow " in request.request_line:
            self.may_answer.wait(30)
            conversation.send(OK_ANSWER)
            return
        content = EVENT + (HALF_AN_EVENT if b"/half " in request.request_line else b"")
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        conversation.send(b"%x\r\n%b\r\n" % (len(content), content))
        conversation.wait_for_end()


def start_before(backend: RawBackend, directory: Path, door: Door, grace_seconds: float) -> Bff:
    return start_bff(
        directory,
        issuer=f"http://127.0.0.1:{find_closed_port()}",
        client=BASIC_CLIENT,
        backend_url=backend.url,
        workers=2,
        door=door,
        settings={"server": {"graceful_timeout_seconds": grace_seconds}},
        routes={
            "services": {"feed": {"base_url": backend.url, "token": {"mode": "none"}}},
            "routes": [build_route("/feed/*", "feed", "/{path}", auth="none", streaming=True)],
        },
    )


@pytest.mark.parametrize("door", DOORS)
def test_streams_of_events_end_whole_at_once_and_other_calls_when_they_are_done(tmp_path: Path, door: Door) -> None:
    """A page's `EventSource` then asks again, and reaches another worker."""
    feed = Feed()
    with RawBackend(feed) as backend:
        bff = start_before(backend, tmp_path, door, GRACE_SECONDS)
        try:
            idle, half, old, slow = wires = [Wire(bff) for _ in range(4)]
            with ExitStack() as open_wires:
                for wire in wires:
                    open_wires.callback(wire.close)
                slow.ask("GET /feed/slow HTTP/1.1")
                backend.wait_for_connections(1)
                idle.ask("GET /feed/idle HTTP/1.1")
                half.ask("GET /feed/half HTTP/1.1")
                old.ask("GET /feed/idle HTTP/1.0")
                for wire in (idle, half, old):
                    wire.wait_for(EVENT)
                half.wait_for(HALF_AN_EVENT)
                told_at = time.monotonic()
                os.kill(bff.child.pid, signal.SIGTERM)
                assert idle.read_answer().body == EVENT
                assert half.read_answer().body == EVENT + HALF_AN_EVENT
                assert old.read_to_end().endswith(EVENT)
                assert idle.read_to_end() == half.read_to_end() == b"", "and nothing comes behind it"
                feed.may_answer.set()
                assert slow.read_answer().body == b"ok"
                wait_until(lambda: not bff.child.is_running(), timeout_seconds=GRACE_SECONDS, what="the end of the BFF")
                assert time.monotonic() - told_at < GRACE_SECONDS / 2
        finally:
            bff.stop()
    lines = read_lines([bff.child.log_path], log="access", route_id="feed")
    told = sorted((line["path"], line["status"], line["code"], line["aborted"]) for line in lines)
    ended = [(f"/feed/{name}", 200, "", True) for name in ("half", "idle", "idle")]
    assert told == [*ended, ("/feed/slow", 200, "", False)]
