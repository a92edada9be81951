"""Removes what is over: expired records, and sessions whose end could not be written at once.

Runs in every worker. A worker finishes the ends that it could not write itself; the sweep, which looks at every record,
is done by whichever worker takes the turn first.
"""

from __future__ import annotations

import random
import threading

import structlog

from app.core.errors import StoreUnavailableError
from app.services.session_store import SessionStore
from app.services.state_store import StateStore

_TURN = "housekeeping:turn"
"""There while somebody has swept less than an interval ago."""

_log = structlog.get_logger(__name__)


class Housekeeping:
    """A background thread (a greenlet under gevent) that sweeps until it is told to stop."""

    def __init__(self, state_store: StateStore, session_store: SessionStore, *, interval_seconds: float) -> None:
        self._state_store = state_store
        self._session_store = session_store
        self._interval_seconds = interval_seconds
        self._stopping = threading.Event()

    def start(self) -> threading.Thread:
        """Begins to sweep; to be called in a worker, after the fork."""
        thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        """Ends it at the next opportunity; does not wait."""
        self._stopping.set()

    def sweep(self) -> None:
        """One round; a store that is away is logged and tried again in the next."""
        try:
            retried = self._session_store.retry_unfinished_ends()
            removed = self._state_store.sweep() if self._takes_the_turn() else 0
        except StoreUnavailableError as error:
            _log.warning("housekeeping.failed", reason=error.internal_reason)
            return
        if retried or removed:
            _log.info("housekeeping.done", removed_records=removed, ended_sessions=retried)

    def _takes_the_turn(self) -> bool:
        return self._state_store.add(_TURN, b"1", self._interval_seconds)

    def _run(self) -> None:
        # Workers start together; spread, they seldom sweep at the same moment.
        while not self._stopping.wait(self._interval_seconds * random.uniform(0.5, 1.5)):  # noqa: S311
            self.sweep()
