"""Connections to one origin: never more than so many, kept for the next call, lent last in first out.

Each connection, in use or idle, holds a slot. A caller who finds no slot waits in line, for a limited time; a slot
that comes free goes to the first in line and past everyone else. Last in first out lets the surplus of a busy minute
grow old and go.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from app.core.errors import UpstreamBusyError
from app.services.upstream_connection import UpstreamConnection


class _Waiter:
    """A caller in line. `connection` stays None when what was handed over is a slot to open one in."""

    __slots__ = ("connection", "served")

    def __init__(self) -> None:
        self.served = threading.Event()
        self.connection: UpstreamConnection | None = None


class UpstreamPool:
    """Safe between threads, and between greenlets where threading is patched."""

    def __init__(
        self,
        open_connection: Callable[[], UpstreamConnection],
        max_connections: int,
        wait_seconds: float,
        monotonic: Callable[[], float],
    ) -> None:
        self._open_connection = open_connection
        self._max_connections = max_connections
        self._wait_seconds = wait_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._idle: deque[UpstreamConnection] = deque()
        self._waiters: deque[_Waiter] = deque()
        self._slots_taken = 0
        self._is_closed = False

    @property
    def open_connections(self) -> int:
        return self._slots_taken

    @property
    def idle_connections(self) -> int:
        return len(self._idle)

    def take(self, *, must_be_fresh: bool = False) -> UpstreamConnection:
        """Returns a connection that the caller gives back or discards.

        Raises `UpstreamBusyError` when none came free in time, and what opening one raises.
        """
        while True:
            # The usual way needs no lock: a `deque` gives each of its items to one taker only.
            connection = None if must_be_fresh else self._pop_idle()
            if connection is None:
                connection = self._take_idle_or_slot(must_be_fresh)
            if connection is None:
                return self._open_in_slot()
            if connection.is_fit(self._monotonic()) and not must_be_fresh:
                return connection
            self.discard(connection)

    def give_back(self, connection: UpstreamConnection) -> None:
        """For a connection whose last answer was read to its end and that can carry another call."""
        now = self._monotonic()
        connection.rest(now)
        if self._is_quiet(now):
            self._idle.append(connection)
            # One may have come in line since, or the pool may have been closed.
            if not self._waiters and not self._is_closed:
                return
            reclaimed = self._pop_idle()
            if reclaimed is None:
                return  # it is taken already
            connection = reclaimed
        with self._lock:
            surplus = self._take_outdated(now)
            if self._is_closed:
                surplus.append(connection)
            elif self._waiters:
                self._serve_first(connection)
            else:
                self._idle.append(connection)
        for unwanted in surplus:
            self.discard(unwanted)

    def discard(self, connection: UpstreamConnection) -> None:
        """Closes the connection; its slot is free for another. A second time changes nothing."""
        with self._lock:
            had_slot, connection.has_slot = connection.has_slot, False
            if had_slot:
                self._free_slot()
        connection.close()

    def close(self) -> None:
        """Closes what is idle, and keeps nothing from now on; calls under way are not disturbed."""
        self._is_closed = True
        while (idle := self._pop_idle()) is not None:
            self.discard(idle)

    def _pop_idle(self) -> UpstreamConnection | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _is_quiet(self, now: float) -> bool:
        """Whether a connection that comes back has only to be put to the others."""
        if self._waiters or self._is_closed:
            return False
        try:
            longest_idle = self._idle[0]
        except IndexError:
            return True
        return now - longest_idle.idle_since <= longest_idle.idle_limit_seconds

    def _take_idle_or_slot(self, must_be_fresh: bool) -> UpstreamConnection | None:
        """Returns an idle connection, or None when the caller now holds a slot to open one in."""
        with self._lock:
            has_room = self._slots_taken < self._max_connections
            idle = None if must_be_fresh and has_room else self._pop_idle()
            if idle is not None:
                return idle
            if has_room:
                self._slots_taken += 1
                return None
            waiter = _Waiter()
            self._waiters.append(waiter)
            # Whoever gave one back a moment ago may not have seen that somebody waits.
            late = self._pop_idle()
            if late is not None:
                self._waiters.remove(waiter)
                return late
        return self._wait_in_line(waiter)

    def _wait_in_line(self, waiter: _Waiter) -> UpstreamConnection | None:
        try:
            waiter.served.wait(self._wait_seconds)
        except BaseException:
            # A greenlet that is killed in line must not take with it what it was handed meanwhile.
            if self._leave_line(waiter):
                self._pass_on(waiter)
            raise
        if not self._leave_line(waiter):
            raise UpstreamBusyError(internal_reason=f"all {self._max_connections} connections were in use for too long")
        return waiter.connection

    def _leave_line(self, waiter: _Waiter) -> bool:
        """Returns whether the waiter was served."""
        with self._lock:
            if waiter.served.is_set():
                return True
            self._waiters.remove(waiter)
            return False

    def _pass_on(self, waiter: _Waiter) -> None:
        if waiter.connection is not None:
            self.discard(waiter.connection)
            return
        with self._lock:
            self._free_slot()

    def _serve_first(self, connection: UpstreamConnection | None) -> None:
        waiter = self._waiters.popleft()
        waiter.connection = connection
        waiter.served.set()

    def _free_slot(self) -> None:
        if self._waiters:
            self._serve_first(None)
        else:
            self._slots_taken -= 1

    def _open_in_slot(self) -> UpstreamConnection:
        try:
            return self._open_connection()
        except BaseException:
            with self._lock:
                self._free_slot()
            raise

    def _take_outdated(self, now: float) -> list[UpstreamConnection]:
        """The longest idle stand first; without this they would stay open until the pool is emptied."""
        outdated = []
        with suppress(IndexError):
            while now - self._idle[0].idle_since > self._idle[0].idle_limit_seconds:
                outdated.append(self._idle.popleft())
        return outdated
