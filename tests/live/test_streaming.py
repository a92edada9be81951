"""Streams pass as they come: the first byte at once, bodies of any size, and a slow reader disturbs nobody."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import time
from collections.abc import Iterator

import pytest
import requests

from tests.support.bff import Stack
from tests.support.browser_client import BrowserClient

pytestmark = pytest.mark.live

MEBIBYTE = 1024 * 1024


def read_events(answer: requests.Response) -> Iterator[dict[str, object]]:
    for line in answer.iter_lines(chunk_size=1):
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))


def test_an_event_arrives_while_the_stream_stays_open(stack: Stack) -> None:
    alice, bob = stack.log_in("alice"), stack.log_in("bob")
    with alice.get("/api/crud/events", stream=True, headers={"Accept": "text/event-stream"}) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        events = read_events(answer)
        assert next(events)["event"] == "hello"
        for text in ("one", "two"):
            sent_at = time.monotonic()
            assert bob.post("/api/crud/events", json={"text": text}).status_code == 202
            assert next(events)["text"] == text
            assert time.monotonic() - sent_at < 10, "held back until something else came"


def test_an_upload_and_a_download_keep_every_byte(stack: Stack) -> None:
    alice = stack.log_in("alice")
    content = bytes(range(256)) * (24 * MEBIBYTE // 256)
    uploaded = alice.post("/api/crud/files", data=content)
    assert uploaded.json() == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    downloaded = alice.get(f"/api/crud/files/{len(content)}")
    assert hashlib.sha256(downloaded.content).hexdigest() == hashlib.sha256(content).hexdigest()


def test_an_upload_of_unknown_length_keeps_every_byte(stack: Stack) -> None:
    alice = stack.log_in("alice")
    pieces = [bytes([number]) * 70_000 for number in range(20)]
    uploaded = alice.post("/api/crud/files", data=iter(pieces))
    content = b"".join(pieces)
    assert uploaded.json() == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def test_slow_readers_hold_nobody_up(stack: Stack) -> None:
    alice = stack.log_in("alice")
    readers = [open_slow_download(stack, alice) for _ in range(12)]
    try:
        for _ in range(20):
            assert alice.get("/api/crud/forms", timeout=5).status_code == 200
    finally:
        for reader in readers:
            reader.close()


def test_a_logout_ends_a_stream_and_leaves_those_of_others_alone(stack: Stack) -> None:
    alice, bob = stack.log_in("alice"), stack.log_in("bob")
    with alice.get("/api/crud/events", stream=True) as ending, bob.get("/api/crud/events", stream=True) as staying:
        events, events_of_bob = read_events(ending), read_events(staying)
        assert next(events)["event"] == next(events_of_bob)["event"] == "hello"
        alice.log_out()
        logged_out_at = time.monotonic()
        with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.ConnectionError)):
            list(events)
        assert time.monotonic() - logged_out_at < 5
        bob.post("/api/crud/events", json={"text": "still here"})
        assert next(events_of_bob)["text"] == "still here"


def test_a_logout_ends_a_download_that_nobody_reads(stack: Stack) -> None:
    alice = stack.log_in("alice")
    reader = open_slow_download(stack, alice)
    alice.log_out()
    with reader:
        reader.settimeout(5)
        time_is_up_at = time.monotonic() + 5
        with contextlib.suppress(ConnectionResetError):
            while reader.recv(65536):
                assert time.monotonic() < time_is_up_at, "it flows on although its session is over"


def open_slow_download(stack: Stack, browser: BrowserClient) -> socket.socket:
    """A client that asks for 256 MiB and reads only the head of the answer."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(10)
    client.connect(("127.0.0.1", stack.bff.port))
    client.sendall(
        f"GET /api/crud/files/{256 * MEBIBYTE} HTTP/1.1\r\nHost: localhost:{stack.bff.port}\r\n"
        f"Cookie: bff_session={browser.session_cookie()}\r\n\r\n".encode()
    )
    assert client.recv(64).startswith(b"HTTP/1.1 200 ")
    return client
