"""Waits until a replica has what was just written, where there is one.

A primary that dies takes with it what no replica had yet. The wait is short and never an error: the write was made, and
a replica that lags must not stop logins. What was not acknowledged in time is said in the log.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from app.services.state_store.redis_engine.failures import RedisFailedError
from app.services.state_store.redis_engine.nodes import Node
from app.services.state_store.redis_engine.wire import Wire

_LONGEST_WAIT_SECONDS = 0.1
_TOLD_EVERY_SECONDS = 10

_log = structlog.get_logger(__name__)


class Replication:
    def __init__(self, timeout_seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        """`timeout_seconds` is how long the connection waits for any reply; the wait stays well below it."""
        self._wait_milliseconds = int(min(_LONGEST_WAIT_SECONDS, timeout_seconds / 2) * 1000)
        self._monotonic = monotonic
        self._counting = threading.Lock()
        self._untold = 0
        self._tell_again_at = float("-inf")

    def wait(self, node: Node, wire: Wire) -> None:
        """For what this wire wrote last. Never raises: the write itself has succeeded."""
        try:
            is_safe = node.count_replicas(wire) == 0 or wire.call("WAIT", 1, self._wait_milliseconds) >= 1
        except RedisFailedError:
            is_safe = False
        if not is_safe:
            self._tell(node)

    def _tell(self, node: Node) -> None:
        with self._counting:
            self._untold += 1
            if self._monotonic() < self._tell_again_at:
                return
            self._tell_again_at = self._monotonic() + _TOLD_EVERY_SECONDS
            count, self._untold = self._untold, 0
        _log.warning("store.write_not_replicated", server=str(node.host), count=count)
