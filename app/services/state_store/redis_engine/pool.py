"""The connections of one worker to one server: as many as are wanted at once, up to a limit; last used, first taken."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.services.state_store.redis_engine.failures import RedisFailedError
from app.services.state_store.redis_engine.wire import Wire


class WirePool:
    def __init__(self, open_wire: Callable[[], Wire], most_wires: int) -> None:
        self._open_wire = open_wire
        self._free_places = threading.Semaphore(most_wires)
        self._idle: deque[Wire] = deque()
        self._generation = 0

    @contextmanager
    def wire(self, wait_seconds: float) -> Iterator[Wire]:
        """Lends a connection. Raises `RedisFailedError` when none is free in time, or none can be opened."""
        if not self._free_places.acquire(timeout=max(wait_seconds, 0)):
            raise RedisFailedError("all connections were in use", is_node_in_doubt=False)
        try:
            generation = self._generation
            wire = self._take_idle() or self._open_wire()
            try:
                yield wire
            finally:
                self._give_back(wire, generation)
        finally:
            self._free_places.release()

    def drop(self) -> None:
        """Closes what is idle now, and what is in use once it comes back: the server behind it may be another one."""
        self._generation += 1
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:  # another thread was quicker
                return

    def _take_idle(self) -> Wire | None:
        while self._idle:
            try:
                wire = self._idle.pop()
            except IndexError:
                return None
            if wire.is_usable():
                return wire
            wire.close()
        return None

    def _give_back(self, wire: Wire, generation: int) -> None:
        if wire.is_open() and generation == self._generation:
            self._idle.append(wire)
        else:
            wire.close()
