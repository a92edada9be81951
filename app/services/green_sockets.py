"""Plain sockets under gevent, without the detours of its general case.

gevent's `recv` asks the system first and waits when there is nothing; who has just sent a request knows that there is
nothing yet. Its time limits are an exception, a context and a timer for each wait; here a wait notes its deadline, and
one timer a socket looks at that now and then. TLS sockets are none of these: what is readable there need not be data.
"""

from __future__ import annotations

import errno
import math
import select
import time
from typing import Any

import gevent.socket
from gevent import get_hub, getcurrent
from gevent.monkey import get_original

_READABLE = 1
"""libev's EV_READ."""
_poll = get_original("select", "poll")


def is_green(sock: Any) -> bool:
    """Whether it is a socket of gevent's, and not one that speaks TLS."""
    return type(sock) is gevent.socket.socket


class GreenSocket:
    """A view of a gevent socket, whose owner closes it behind this. `raw` never blocks: it takes or gives what it can,
    or raises `BlockingIOError`.

    The loop goes on watching the socket between two waits: to begin and end that each time costs a system call. One
    greenlet waits at a time.
    """

    __slots__ = (
        "_deadline",
        "_hub",
        "_is_closed",
        "_is_watched",
        "_looks_at",
        "_poll",
        "_timer",
        "_waiting",
        "_watcher",
        "raw",
    )

    def __init__(self, sock: Any) -> None:
        self.raw: Any = sock._sock
        self._hub = get_hub()
        self._watcher = self._hub.loop.io(self.raw.fileno(), _READABLE)
        self._is_watched = False
        self._is_closed = False
        self._waiting: Any = None
        self._deadline = math.inf
        """Of the wait under way, on the monotonic clock."""
        self._timer: Any = None
        self._looks_at = math.inf
        """When the timer does, at the earliest deadline since it looked last."""
        self._poll: Any = None

    def is_readable(self) -> bool:
        """Whether bytes or an end are there, at this moment."""
        if self._poll is None:
            self._poll = _poll()
            self._poll.register(self.raw.fileno(), select.POLLIN)
        return bool(self._poll.poll(0))

    def wait_to_receive(self, seconds: float | None) -> None:
        """Returns when bytes or an end may be there; raises `TimeoutError` after `seconds`, `OSError` once closed."""
        if self._is_closed:
            raise OSError(errno.EBADF, "the socket was closed")
        if self._waiting is not None:
            raise RuntimeError("somebody else waits for this socket")
        if not self._is_watched:
            self._is_watched = True
            self._watcher.start(self._wake)
        if seconds is not None:
            self._deadline = time.monotonic() + seconds
            if self._deadline < self._looks_at:
                self._look_in(seconds)
        self._waiting = getcurrent()
        try:
            self._hub.switch()
        finally:
            self._waiting = None
            self._deadline = math.inf

    def _wake(self) -> None:
        """Called by the loop as long as there is something to receive."""
        if self._waiting is not None:
            self._waiting.switch()
        else:
            self._is_watched = False
            self._watcher.stop()

    def _look_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.close()
        self._looks_at = time.monotonic() + seconds
        self._timer = self._hub.loop.timer(seconds)
        self._timer.start(self._look_at_deadline)

    def _look_at_deadline(self) -> None:
        """Called by the loop. Nearly always the wait that the timer was started for is long over."""
        self._looks_at = math.inf
        left_seconds = self._deadline - time.monotonic()
        if left_seconds <= 0:
            self._waiting.throw(TimeoutError)
        elif left_seconds < math.inf:
            self._look_in(left_seconds)

    def _give_up(self) -> None:
        if self._waiting is not None:
            self._waiting.throw(OSError(errno.EBADF, "the socket was closed"))

    def receive(self, max_bytes: int, seconds: float | None) -> bytes:
        """Waits, then returns what is there; b"" at the end. Raises `TimeoutError`, `OSError`."""
        while True:
            self.wait_to_receive(seconds)
            try:
                received: bytes = self.raw.recv(max_bytes)
            except BlockingIOError:
                continue  # somebody else has taken it
            return received

    def close(self) -> None:
        """Before the socket: a watch must not outlive its descriptor. Who waits is told by an `OSError`."""
        self._is_closed = True
        self._watcher.close()
        if self._timer is not None:
            self._timer.close()
        if self._waiting is not None:
            self._hub.loop.run_callback(self._give_up)
