"""A pool's connection for the length of a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.services.state_store.redis_engine.pool import WirePool
from app.services.state_store.redis_engine.wire import Wire


@contextmanager
def lent(pool: WirePool, wait_seconds: float = 1) -> Iterator[Wire]:
    wire = pool.take(wait_seconds)
    try:
        yield wire
    finally:
        pool.give_back(wire)
