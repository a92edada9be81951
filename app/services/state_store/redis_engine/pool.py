"""The connections of one worker to one server: as many as are wanted at once, up to a limit; last used, first taken."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from app.services.state_store.redis_engine.failures import RedisFailedError
from app.services.state_store.redis_engine.wire import Wire


class WirePool:
    """Each connection, in use or idle, holds one of the places. Safe between threads and greenlets."""

    def __init__(
        self, open_wire: Callable[[], Wire], most_wires: int, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._open_wire = open_wire
        self._monotonic = monotonic
        self._idle: deque[Wire] = deque()
        self._generation = 0
        self._free_places = most_wires
        self._waiting = 0
        self._changed = threading.Condition()

    def take(self, wait_seconds: float) -> Wire:
        """Returns a connection that the caller gives back, broken or not.

        Raises `RedisFailedError` when none is free in time, or none can be opened.
        """
        # The usual way needs no lock: a `deque` gives each of its items to one taker only.
        wire = self._take_idle() or self._wait_for_one(wait_seconds)
        if wire is not None:
            return wire
        generation = self._generation
        try:
            wire = self._open_wire()
        except BaseException:
            self._free_place()
            raise
        wire.generation = generation
        return wire

    def give_back(self, wire: Wire) -> None:
        if not wire.is_open() or wire.generation != self._generation:
            self._discard(wire)
            return
        self._idle.append(wire)
        if self._waiting:
            with self._changed:
                self._changed.notify()

    def drop(self) -> None:
        """Closes what is idle now, and what is in use once it comes back: the server behind it may be another one."""
        self._generation += 1
        while (wire := self._pop_idle()) is not None:
            self._discard(wire)

    def _take_idle(self) -> Wire | None:
        while (wire := self._pop_idle()) is not None:
            if wire.is_usable() and wire.generation == self._generation:
                return wire
            self._discard(wire)
        return None

    def _pop_idle(self) -> Wire | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _wait_for_one(self, wait_seconds: float) -> Wire | None:
        """Returns a connection that came back, or None when the caller now holds a place to open one in."""
        give_up_at = self._monotonic() + wait_seconds
        with self._changed:
            # First: who gives one back must see that somebody waits, or be seen by the look below.
            self._waiting += 1
            try:
                while True:
                    wire = self._take_idle()
                    if wire is not None:
                        return wire
                    if self._free_places:
                        self._free_places -= 1
                        return None
                    remaining_seconds = give_up_at - self._monotonic()
                    if remaining_seconds <= 0:
                        raise RedisFailedError("all connections were in use", is_node_in_doubt=False)
                    self._changed.wait(remaining_seconds)
            except BaseException:
                self._changed.notify()  # what this one was woken for may still be there
                raise
            finally:
                self._waiting -= 1

    def _discard(self, wire: Wire) -> None:
        wire.close()
        self._free_place()

    def _free_place(self) -> None:
        with self._changed:
            self._free_places += 1
            self._changed.notify()
