"""The one way out for log lines: whole lines, in order, and never at the price of a call.

Events, audit and access lines of a process leave through one `LineWriter`. Once started, it only queues: a real
operating-system thread encodes and writes, so a reader of stdout that stands still stalls nobody. Under gevent the
thread and its sleep must be the unpatched ones; they are handed to `start`, because gevent is imported elsewhere.
Before `start` and after `stop` (commands, the gunicorn master, tests) a line is written where it is made.

Lines never interleave, between threads or between workers that share the pipe: a write holds whole lines and at most
`PIPE_BUF` bytes, which POSIX makes atomic (write(2), pipe(7)); `MAX_LINE_BYTES` keeps each single line within that.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from select import PIPE_BUF

MAX_LINE_BYTES = PIPE_BUF

Sleep = Callable[[float], None]
StartThread = Callable[[Callable[[], None]], object]
Line = bytes | Callable[[], bytes]
"""A line with its newline, or what makes it; the latter runs in the writing thread."""

_POLL_SECONDS = 0.025
"""Long enough that a busy worker's lines leave in batches, short enough for somebody who watches the log."""


def start_daemon_thread(target: Callable[[], None]) -> object:
    """Starts a thread that does not keep the process alive."""
    thread = threading.Thread(target=target, name="log-lines", daemon=True)
    thread.start()
    return thread


class LineWriter:
    """Writes lines to a file descriptor; `capacity` bounds what waits in memory while nobody reads."""

    def __init__(self, descriptor: int, *, capacity: int = 10_000) -> None:
        self._descriptor = descriptor
        self._capacity = capacity
        self._queue: deque[Line] = deque()
        self._started = False
        self._stopping = False
        self._finished = False
        self._given_up = False
        self._start_thread: StartThread = start_daemon_thread
        self._sleep: Sleep = time.sleep
        self.on_drop: Callable[[], None] = lambda: None
        """Called for each line that is lost."""
        os.register_at_fork(after_in_child=self._begin_again)

    def start(self, *, start_thread: StartThread = start_daemon_thread, sleep: Sleep = time.sleep) -> None:
        """Hands writing over to a thread; nothing happens when one is at it already. A forked child gets its own."""
        if self._started:
            return
        self._start_thread, self._sleep = start_thread, sleep
        self._stopping = self._finished = self._given_up = False
        self._started = True
        start_thread(self._run)

    def stop(self, timeout_seconds: float = 2.0) -> bool:
        """Writes out what waits and ends the thread. False: not everything could be written in time; it is lost."""
        if not self._started:
            return True
        self._stopping = True
        deadline = time.monotonic() + timeout_seconds
        while not self._finished and time.monotonic() < deadline:
            time.sleep(0.005)
        if not self._finished:
            # The thread still sits in a write that nobody reads: writing here would block this thread as well.
            self._given_up = True
        self._started = False
        return self._finished

    def write(self, line: Line) -> None:
        """Writes a line that must not give way to a flood of access lines: it may fill twice the capacity."""
        self._put(line, 2 * self._capacity)

    def offer(self, line: Line) -> None:
        """Writes a line that is dropped first when nobody reads."""
        self._put(line, self._capacity)

    def _put(self, line: Line, capacity: int) -> None:
        if self._started:
            if len(self._queue) < capacity:
                self._queue.append(line)
            else:
                self.on_drop()
        elif self._given_up:
            self.on_drop()
        else:
            self._write_all(_make(line))

    def _run(self) -> None:
        while True:
            # Read before draining: whatever was queued before `stop` is then still written.
            stopping = self._stopping
            self._drain()
            if stopping:
                self._finished = True
                return
            self._sleep(_POLL_SECONDS)

    def _drain(self) -> None:
        batch: list[bytes] = []
        size = 0
        while self._queue:
            try:
                line = _make(self._queue.popleft())
            except Exception:  # noqa: BLE001 - one line that cannot be made must not end the writing of all others
                self.on_drop()
                continue
            if size + len(line) > PIPE_BUF and batch:
                self._write_batch(batch)
                batch, size = [], 0
            batch.append(line)
            size += len(line)
        if batch:
            self._write_batch(batch)

    def _write_batch(self, batch: list[bytes]) -> None:
        if not self._write_all(b"".join(batch)):
            for _ in batch:
                self.on_drop()

    def _write_all(self, data: bytes) -> bool:
        """False when the other end is gone; a service whose log reader died goes on serving."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                # Somebody who shares the pipe made it non-blocking.
                self._sleep(_POLL_SECONDS)
            except OSError:
                return False
        return True

    def _begin_again(self) -> None:
        """In a forked child: the thread has stayed with the parent, and what waits is the parent's to write."""
        had_thread = self._started and not self._stopping
        self._queue.clear()
        self._started = self._stopping = self._finished = self._given_up = False
        if had_thread:
            self.start(start_thread=self._start_thread, sleep=self._sleep)


def _make(line: Line) -> bytes:
    return line if isinstance(line, bytes) else line()


stdout = LineWriter(1)
"""Where events, access lines and (by default) audit lines go."""
