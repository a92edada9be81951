"""An answer that is still to come is given up when nobody could end it with its session."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from app.gateway.fast_head import HeadLimits
from app.gateway.known_heads import KnownHeads
from app.gateway.messages import ProxyRequest
from app.observability.access import AccessRecord
from app.services.upstream_response import UpstreamResponse
from app.services.upstream_response_head import parse_response_head
from bench.hot_path import ANSWER, build_call


class Pool:
    def __init__(self) -> None:
        self.discarded: list[object] = []

    def discard(self, connection: object) -> None:
        self.discarded.append(connection)


class SlowBackend:
    """Its head has come, its body has not."""

    def __init__(self, pool: Any) -> None:
        self.connection: Any = object()
        self._pool = pool

    def open(self, service: object, request: Any) -> UpstreamResponse:
        head = parse_response_head(ANSWER)
        assert head is not None
        unlimited: Any = None
        return UpstreamResponse(head, request.method, b"", self.connection, self._pool, unlimited, is_request_sent=True)


class BrokenWatch:
    def begin(self, key: str, end: object) -> None:
        raise RuntimeError("can't start new thread")


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

    heads = KnownHeads(HeadLimits(4094, 100, 8190), pipeline.read_head, pipeline.claim, time.monotonic)
    head = heads.parse(received, "127.0.0.1")
    assert head is not None
    response = pipeline.handle(
        ProxyRequest(head.method, head.raw_target, head.facts.lines, None, "127.0.0.1", "http", head.claim, head.facts)
    )
    assert response.status == 500
    assert json.loads(b"".join(response.body))["code"] == "internal_error"
    assert pool.discarded == [backend.connection]
    response.close()
    assert [(record.status, record.code) for record in records] == [(500, "internal_error")]
    assert pool.discarded == [backend.connection]
