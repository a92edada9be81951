from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from app.observability.lines import MAX_LINE_BYTES, LineWriter, start_daemon_thread


class Pipe:
    """A pipe whose reading end is only read when told to."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()

    def read_all(self) -> bytes:
        """Reads until every writer has closed."""
        os.close(self.writing)
        pieces = []
        while piece := os.read(self.reading, 65536):
            pieces.append(piece)
        os.close(self.reading)
        return b"".join(pieces)


def test_before_it_is_started_a_line_is_written_at_once() -> None:
    pipe = Pipe()
    writer = LineWriter(pipe.writing)
    writer.write(b"one\n")
    writer.offer(lambda: b"two\n")

    assert os.read(pipe.reading, 100) == b"one\ntwo\n"


def test_lines_leave_in_order_and_stop_writes_what_waits() -> None:
    pipe = Pipe()
    writer = LineWriter(pipe.writing)
    writer.start()
    expected = [f"line {n}\n".encode() for n in range(500)]
    for line in expected:
        writer.offer(line)

    assert writer.stop()
    assert pipe.read_all() == b"".join(expected)


def test_a_line_that_cannot_be_made_ends_nothing() -> None:
    pipe = Pipe()
    writer = LineWriter(pipe.writing)
    dropped: list[None] = []
    writer.on_drop = lambda: dropped.append(None)
    writer.start()
    writer.offer(lambda: bytes(1 // 0))
    writer.offer(b"next\n")

    assert writer.stop()
    assert dropped == [None]
    assert pipe.read_all() == b"next\n"


def test_starting_twice_starts_one_thread() -> None:
    started: list[object] = []
    writer = LineWriter(1)
    writer.start(start_thread=started.append)
    writer.start(start_thread=started.append)

    assert len(started) == 1


def test_a_stopped_writer_can_be_started_again() -> None:
    pipe = Pipe()
    writer = LineWriter(pipe.writing)
    for line in (b"one\n", b"two\n"):
        writer.start()
        writer.write(line)
        assert writer.stop()

    assert pipe.read_all() == b"one\ntwo\n"


def fill(pipe: Pipe) -> None:
    os.set_blocking(pipe.writing, False)
    try:
        while True:
            os.write(pipe.writing, b"x" * 4095 + b"\n")
    except BlockingIOError:
        os.set_blocking(pipe.writing, True)


def test_a_reader_that_stands_still_costs_lines_and_not_time() -> None:
    pipe = Pipe()
    fill(pipe)
    writer = LineWriter(pipe.writing, capacity=100)
    dropped: list[None] = []
    writer.on_drop = lambda: dropped.append(None)
    writer.start()
    began = time.monotonic()
    for _ in range(1000):
        writer.offer(b"y" * 100 + b"\n")
    assert time.monotonic() - began < 5  # a write into the full pipe would never return
    # What the thread took out before it ran into the full pipe is at most one more capacity.
    assert 1000 - 2 * 100 <= len(dropped) <= 1000 - 100

    assert not writer.stop(timeout_seconds=0.1)
    count = len(dropped)
    writer.write(b"after\n")  # must not block either
    assert len(dropped) == count + 1
    os.close(pipe.reading)


def test_access_lines_give_way_to_events() -> None:
    writer = LineWriter(1, capacity=10)
    dropped: list[None] = []
    writer.on_drop = lambda: dropped.append(None)
    writer.start(start_thread=lambda _: None)  # nobody writes anything out
    for _ in range(15):
        writer.offer(b"access\n")
    assert len(dropped) == 5
    for _ in range(10):
        writer.write(b"event\n")
    assert len(dropped) == 5
    writer.write(b"event\n")
    assert len(dropped) == 6


def test_a_reader_that_has_gone_is_no_error() -> None:
    pipe = Pipe()
    os.close(pipe.reading)
    writer = LineWriter(pipe.writing)
    dropped: list[None] = []
    writer.on_drop = lambda: dropped.append(None)
    writer.write(b"direct\n")
    writer.start()
    writer.write(b"queued\n")

    assert writer.stop()
    assert dropped == [None]
    os.close(pipe.writing)


def test_a_pipe_that_somebody_made_non_blocking_loses_nothing() -> None:
    pipe = Pipe()
    fill(pipe)
    os.set_blocking(pipe.writing, False)
    writer = LineWriter(pipe.writing)
    writer.start()
    writer.write(b"last\n")
    read = b""
    while not read.endswith(b"last\n"):
        read += os.read(pipe.reading, 65536)

    assert writer.stop()
    pipe.read_all()


def test_a_forked_child_writes_its_own_lines_with_a_thread_of_its_own() -> None:
    pipe = Pipe()
    writer = LineWriter(pipe.writing)
    threads: list[int] = []

    def start_thread(run: Callable[[], None]) -> None:
        threads.append(os.getpid())
        if len(threads) > 1:  # the parent's never runs, so that its line still waits at the fork
            start_daemon_thread(run)

    writer.start(start_thread=start_thread)
    writer.write(b"of the parent\n")
    pid = os.fork()
    if pid == 0:
        writer.write(b"of the child\n")
        os._exit(0 if writer.stop() and threads[1] == os.getpid() else 1)

    assert os.waitpid(pid, 0)[1] == 0
    assert os.read(pipe.reading, 100) == b"of the child\n"


def test_a_child_of_a_process_without_a_thread_writes_directly() -> None:
    pipe = Pipe()
    writer = LineWriter(pipe.writing)
    pid = os.fork()
    if pid == 0:
        writer.write(b"of the child\n")
        os._exit(0)

    assert os.waitpid(pid, 0)[1] == 0
    assert os.read(pipe.reading, 100) == b"of the child\n"


WRITER_PROGRAM = """
import sys, threading
from app.observability import access, lines, logs
from app.observability.access import AccessRecord

name = sys.argv[1]
log = logs.get_logger(name)
access.start()

def write():
    for n in range(200):
        log.info("event", number=n, filler="e" * (n * 17 % 3000))
        access.record(AccessRecord(
            time=0.0, request_id=f"{name}-{n}", method="GET", path="/" + "p" * (n * 31 % 900), route_id="r", status=200,
            duration_ms=1.0, client_address="127.0.0.1"))

threads = [threading.Thread(target=write) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert access.stop(30)
"""


def test_lines_of_several_processes_and_threads_never_interleave() -> None:
    pipe = Pipe()
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER_PROGRAM, f"writer-{n}"], stdout=pipe.writing) for n in range(3)
    ]
    text = pipe.read_all()
    assert [writer.wait(30) for writer in writers] == [0, 0, 0]

    lines = text.splitlines(keepends=True)
    assert len(lines) == 3 * 4 * 200 * 2
    assert all(json.loads(line)["log"] in ("event", "access") for line in lines)
    assert max(map(len, lines)) <= MAX_LINE_BYTES


GEVENT_PROGRAM = """
from gevent import monkey
monkey.patch_all()
import gevent, os, sys, time
from app.observability import access, logs
from app.observability.access import AccessRecord

start_new_thread = monkey.get_original("_thread", "start_new_thread")
access.start(start_thread=lambda run: start_new_thread(run, ()), sleep=monkey.get_original("time", "sleep"))
ticks = 0

def tick():
    global ticks
    while True:
        ticks += 1
        gevent.sleep(0.01)

gevent.spawn(tick)
for n in range(3000):
    logs.get_logger("x").info("event", filler="e" * 100)
    access.record(AccessRecord(time=0.0, request_id=str(n), method="GET", path="/", route_id="r", status=200,
        duration_ms=1.0, client_address="127.0.0.1"))
    if n % 100 == 0:
        gevent.sleep(0.01)
sys.stderr.write(f"done {ticks}\\n")
sys.stderr.flush()
sys.stdin.readline()
os._exit(0 if access.stop(10) else 1)
"""


def test_a_full_stdout_does_not_stall_a_gevent_worker() -> None:
    """The whole of it: patched by gevent, a real thread, more lines than a pipe holds, and nobody who reads them."""
    worker = subprocess.Popen(
        [sys.executable, "-c", GEVENT_PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert worker.stdin is not None
    assert worker.stdout is not None
    assert worker.stderr is not None
    try:
        done = worker.stderr.readline()  # comes only if no write blocked the worker
        assert done.startswith(b"done ")
        assert int(done.split()[1]) > 10  # other greenlets ran all the while
        worker.stdin.write(b"\n")
        worker.stdin.flush()
        text = worker.stdout.read()
        assert worker.wait(20) == 0
        assert len(text) > 6000 * 100
        assert len([json.loads(line) for line in text.splitlines()]) == 6000
    finally:
        if worker.poll() is None:
            worker.send_signal(signal.SIGKILL)
        worker.wait()
        for stream in (worker.stdin, worker.stdout, worker.stderr):
            stream.close()


@pytest.mark.parametrize("size", [1, 100, 4000])
def test_no_write_is_larger_than_what_a_pipe_takes_at_once(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    sizes: list[int] = []

    def write(_: int, content: memoryview) -> int:
        sizes.append(len(content))
        return len(content)

    monkeypatch.setattr(os, "write", write)
    writer = LineWriter(1)
    writer.start(start_thread=lambda _: None)
    for _ in range(300):
        writer.write(b"x" * (size - 1) + b"\n")
    writer._stopping = True
    writer._run()

    assert sum(sizes) == 300 * size
    assert max(sizes) <= MAX_LINE_BYTES
    assert len(sizes) <= 300 * size / MAX_LINE_BYTES * 2 + 1
