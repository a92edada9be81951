"""A gibibyte down and up through the proxy leaves the workers as small as they were."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bff import Bff, Stack
from tests.support.browser_client import BrowserClient

pytestmark = [pytest.mark.long, pytest.mark.live, pytest.mark.timeout(900)]

MEBIBYTE = 1024 * 1024
GIBIBYTE = 1024 * MEBIBYTE
MOST_GROWTH_BYTES = 32 * MEBIBYTE


def peak_memory_bytes(pid: int) -> int:
    """The most resident memory that the process has had since `reset_peak_memory`."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel does not tell VmHWM")


def reset_peak_memory(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")  # proc(5): resets VmHWM


@pytest.fixture
def alice(stack: Stack) -> BrowserClient:
    """Logged in, with small transfers behind it, so that what a worker loads once is there."""
    browser = stack.log_in("alice")
    for _ in range(8):
        assert browser.get("/api/crud/files/1000").status_code == 200
        assert browser.post("/api/crud/files", data=bytes(1000)).status_code == 200
    for pid in stack.bff.worker_pids():
        reset_peak_memory(pid)
    return browser


def assert_no_worker_grew(bff: Bff, before: dict[int, int]) -> None:
    for pid, size in before.items():
        growth = peak_memory_bytes(pid) - size
        print(f"worker {pid}: peak {growth / MEBIBYTE:.1f} MiB above the start")
        assert growth < MOST_GROWTH_BYTES


def measure(bff: Bff) -> dict[int, int]:
    return {pid: peak_memory_bytes(pid) for pid in bff.worker_pids()}


def test_a_gibibyte_down(stack: Stack, alice: BrowserClient) -> None:
    before = measure(stack.bff)
    received = 0
    with alice.get(f"/api/crud/files/{GIBIBYTE}", stream=True) as answer:
        for piece in answer.iter_content(MEBIBYTE):
            received += len(piece)
    assert received == GIBIBYTE
    assert_no_worker_grew(stack.bff, before)


@pytest.mark.parametrize("framing", ["content-length", "chunked"])
def test_a_gibibyte_up(stack: Stack, alice: BrowserClient, tmp_path: Path, framing: str) -> None:
    before = measure(stack.bff)
    sparse = tmp_path / "gibibyte"
    with sparse.open("wb") as made:
        made.truncate(GIBIBYTE)
    with sparse.open("rb") as content:
        data = content if framing == "content-length" else iter(lambda: content.read(MEBIBYTE), b"")
        answer = alice.post("/api/crud/files", data=data, timeout=600)
    assert answer.json()["bytes"] == GIBIBYTE
    assert_no_worker_grew(stack.bff, before)


def test_a_reader_that_stops_does_not_make_the_worker_hold_the_answer(stack: Stack, alice: BrowserClient) -> None:
    before = measure(stack.bff)
    resume = threading.Event()

    def read_in_two_halves(pieces: Iterator[bytes]) -> int:
        received = len(next(pieces))
        resume.wait(5)  # the worker fills what buffers there are, and then has to wait
        return received + sum(map(len, pieces))

    with alice.get(f"/api/crud/files/{GIBIBYTE}", stream=True) as answer:
        assert read_in_two_halves(answer.iter_content(MEBIBYTE)) == GIBIBYTE
    assert_no_worker_grew(stack.bff, before)
