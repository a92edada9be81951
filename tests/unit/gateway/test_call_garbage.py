"""A call that is over is gone: nothing of it waits for the garbage collector."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from app.gateway.fast_head import HeadLimits, parse_plain_head
from bench.hot_path import SilentSocket, build_call


def test_a_call_leaves_no_ring_of_objects_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFF_CONFIG_DIR", str(tmp_path))
    door, request = build_call(tmp_path)

    def call() -> None:
        head = parse_plain_head(request, HeadLimits(4094, 100, 8190))
        assert head is not None
        claim = door.claim_plain(head)
        assert claim is not None
        assert door.carry_plain(claim, head, SilentSocket(), "127.0.0.1")

    call()  # what is learnt and remembered once is no garbage
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            call()
        assert gc.collect() < 20
    finally:
        gc.enable()
