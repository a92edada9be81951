"""A call that is over is gone: nothing of it waits for the garbage collector."""

from __future__ import annotations

import gc
import time
from pathlib import Path

import pytest

from app.gateway.fast_head import HeadLimits
from app.gateway.known_heads import KnownHeads
from bench.hot_path import SilentSocket, build_call, build_door


def test_a_call_leaves_no_ring_of_objects_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BFF_CONFIG_DIR", str(tmp_path))
    pipeline, request = build_call(tmp_path)
    door, limits = build_door(pipeline), HeadLimits(4094, 100, 8190)
    heads = KnownHeads(limits, pipeline.read_head, pipeline.claim, time.monotonic)

    def call() -> None:
        head = heads.parse(request, "127.0.0.1")
        assert head is not None
        assert door.carry_plain(head, SilentSocket(), "127.0.0.1")
        heads.keep(head)

    call()  # what is learnt and remembered once is no garbage
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            call()
        assert gc.collect() < 20
    finally:
        gc.enable()
