from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.services.state_store.redis_engine import RedisStateStore, open_redis_state_store
from app.settings.schema.session_section import RedisSettings

KEY = "session:" + "a" * 64
OTHER = "session:" + "b" * 64
_prefixes = itertools.count(1)


def new_prefix() -> str:
    """Keys of its own for a test, on a server that it shares."""
    return f"own{next(_prefixes)}:"


@contextmanager
def opened(
    url: str, clock: Callable[[], float] = time.time, *, key_prefix: str = "", **settings: object
) -> Iterator[RedisStateStore]:
    """A store that is closed at the end."""
    more = {"key_prefix": key_prefix or new_prefix(), **settings}
    store = open_redis_state_store(url, RedisSettings.model_validate(more), clock)
    try:
        yield store
    finally:
        store.close()
