"""Tokens that the provider has given and the store could not take: written down as soon as it can.

A provider that rotates refresh tokens has made the one in the store worthless, and ends the grant when it is used. So
an answer that came while the store was away must not be forgotten: the next refresh would log the user out. The
session's turn is kept as well, so that nobody spends the old token meanwhile. In Redis a turn has a lease: should the
store be away for longer, somebody else's refresh may come first, and then that user has to log in again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from app.core.errors import BffError, StoreUnavailableError
from app.observability import logs

PAUSE_SECONDS = 0.2
MOST_KEPT = 1000

log = logs.get_logger(__name__)


class UnstoredTokens:
    """One a worker. What it keeps is lost with the worker."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._session_keys: set[str] = set()
        self._changing = threading.Lock()

    def has(self, session_key: str) -> bool:
        return session_key in self._session_keys

    def keep(self, session_key: str, store: Callable[[], None], turn: ExitStack, *, until: float) -> None:
        """Calls `store` again and again, in a thread of its own, for as long as the store is not available and `until`
        (epoch seconds) is not over; then lets go of `turn`."""
        with self._changing:
            if len(self._session_keys) >= MOST_KEPT:
                turn.close()
                log.error("refresh.tokens_lost", reason="too many wait for the store already")
                return
            self._session_keys.add(session_key)
        log.warning("refresh.tokens_not_stored_yet")
        arguments = (session_key, store, turn, until)
        threading.Thread(target=self._store_at_last, args=arguments, daemon=True, name="unstored-tokens").start()

    def _store_at_last(self, session_key: str, store: Callable[[], None], turn: ExitStack, until: float) -> None:
        try:
            with turn:
                self._try_until(store, until)
        finally:
            with self._changing:
                self._session_keys.discard(session_key)

    def _try_until(self, store: Callable[[], None], until: float) -> None:
        while self._clock() < until:
            time.sleep(PAUSE_SECONDS)
            try:
                store()
            except StoreUnavailableError:
                continue
            except BffError as error:  # the session has ended, or somebody else was there first
                log.warning("refresh.tokens_not_stored", reason=error.internal_reason)
            else:
                log.info("refresh.tokens_stored_late")
            return
        log.error("refresh.tokens_lost", reason="the store did not come back while the session lasted")
