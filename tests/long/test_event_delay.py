"""How long a server-sent event is under way from the backend to the client: printed, and never held back."""

from __future__ import annotations

import json
import statistics
import threading
import time

import pytest

from tests.support.bff import Stack

pytestmark = [pytest.mark.long, pytest.mark.live]

EVENTS = 300


@pytest.mark.parametrize("other_calls", [False, True], ids=["idle", "under-load"])
def test_the_delay_of_events(stack: Stack, other_calls: bool) -> None:
    alice, bob = stack.log_in("alice"), stack.log_in("bob")
    done = threading.Event()

    def call_again_and_again() -> None:
        carol = stack.log_in("carol")
        while not done.is_set():
            carol.get("/api/crud/forms")

    load = [threading.Thread(target=call_again_and_again) for _ in range(4 if other_calls else 0)]
    for thread in load:
        thread.start()
    delays = []
    try:
        with alice.get("/api/crud/events", stream=True) as answer:
            lines = (line for line in answer.iter_lines(chunk_size=1) if line.startswith(b"data: "))
            next(lines)
            for _ in range(EVENTS):
                assert bob.post("/api/crud/events", json={"text": "x"}).status_code == 202
                event = json.loads(next(lines).removeprefix(b"data: "))
                delays.append(time.time() - event["sent_at"])
    finally:
        done.set()
        for thread in load:
            thread.join()
    ordered = sorted(delays)
    state = "under load" if other_calls else "idle"
    median, late = statistics.median(ordered), ordered[int(len(ordered) * 0.99)]
    print(f"server-sent events, {state}: median {median * 1000:.1f} ms, 99 of 100 under {late * 1000:.1f} ms")
    assert len(delays) == EVENTS
