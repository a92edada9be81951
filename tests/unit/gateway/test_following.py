"""An answer that is still to come ends with what let its call in, or is given up when nobody could end it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.gateway.fast_head import HeadLimits
from app.gateway.known_heads import KnownHeads
from app.gateway.messages import ProxyRequest
from app.gateway.pipeline import Pipeline
from app.observability.access import AccessRecord
from app.services.upstream_response import UpstreamResponse
from app.services.upstream_response_head import parse_response_head
from bench.hot_path import ANSWER, build_call

EVENTS_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


class Pool:
    def __init__(self) -> None:
        self.discarded: list[object] = []

    def discard(self, connection: object) -> None:
        self.discarded.append(connection)


class SlowBackend:
    """Its head has come, its body has not."""

    def __init__(self, pool: Any, head: bytes = ANSWER, first_piece: bytes = b"") -> None:
        self.connection: Any = object()
        self._pool = pool
        self._head = head
        self._first_piece = first_piece

    def open(self, service: object, request: Any) -> UpstreamResponse:
        head = parse_response_head(self._head)
        assert head is not None
        unlimited: Any = None
        piece = self._first_piece
        return UpstreamResponse(
            head, request.method, piece, self.connection, self._pool, unlimited, is_request_sent=True
        )


class BrokenWatch:
    def begin(self, key: str, end: object) -> None:
        raise RuntimeError("can't start new thread")


class NotingWatch:
    def __init__(self) -> None:
        self.begun: list[tuple[object, Callable[[], None]]] = []

    def begin(self, key: object, end: Callable[[], None]) -> Callable[[], None]:
        self.begun.append((key, end))
        return end


def read_request(pipeline: Pipeline, received: bytes) -> ProxyRequest:
    heads = KnownHeads(HeadLimits(4094, 100, 8190), pipeline.read_head, pipeline.claim, time.monotonic)
    head = heads.parse(received, "127.0.0.1")
    assert head is not None
    return ProxyRequest(
        head.method, head.raw_target, head.facts.lines, None, "127.0.0.1", "http", head.claim, head.facts
    )


def test_an_answer_whose_session_cannot_be_watched_is_an_error_and_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BFF_CONFIG_DIR", str(tmp_path))
    pipeline, received = build_call(tmp_path)
    pool = Pool()
    backend, watch = SlowBackend(pool), BrokenWatch()
    monkeypatch.setattr(pipeline, "_upstream", backend)
    monkeypatch.setattr(pipeline, "_session_watch", watch)
    records: list[AccessRecord] = []
    monkeypatch.setattr("app.observability.access.record", records.append)

    response = pipeline.handle(read_request(pipeline, received))
    assert response.status == 500
    assert json.loads(b"".join(response.body))["code"] == "internal_error"
    assert pool.discarded == [backend.connection]
    response.close()
    assert [(record.status, record.code) for record in records] == [(500, "internal_error")]
    assert pool.discarded == [backend.connection]


def test_a_stream_of_events_that_its_client_left_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFF_CONFIG_DIR", str(tmp_path))
    pipeline, received = build_call(tmp_path)
    monkeypatch.setattr(pipeline, "_upstream", SlowBackend(Pool(), EVENTS_HEAD, b"data: 1\n\n"))
    response = pipeline.handle(read_request(pipeline, received))
    pieces = iter(response.body)
    assert next(pieces) == b"data: 1\n\n"
    assert pipeline._event_streams._open == {response.body}
    response.close()  # with the iterator still in its middle, where nobody closes it
    assert pipeline._event_streams._open == set()


@pytest.mark.parametrize(
    ("admission", "watch_name", "code"),
    [
        ({"session_key": "key"}, "_session_watch", "session_expired"),
        ({"admitted_until": 5.0}, "_time_watch", "token_invalid"),
        ({}, "", ""),
    ],
)
def test_what_lets_a_call_in_is_watched_and_its_end_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, admission: dict[str, Any], watch_name: str, code: str
) -> None:
    monkeypatch.setenv("BFF_CONFIG_DIR", str(tmp_path))
    pipeline, received = build_call(tmp_path)
    watches = {name: NotingWatch() for name in ("_session_watch", "_time_watch")}
    for name, watch in watches.items():
        monkeypatch.setattr(pipeline, name, watch)
    call = pipeline._begin(read_request(pipeline, received))
    for name, value in admission.items():
        setattr(call, name, value)
    codes: list[str] = []
    pipeline._watch_admission(call, codes.append)
    begun = {name: [key for key, _ in watch.begun] for name, watch in watches.items() if watch.begun}
    assert begun == ({watch_name: list(admission.values())} if code else {})
    for _, end in [entry for watch in watches.values() for entry in watch.begun]:
        end()
    assert codes == ([code] if code else [])
