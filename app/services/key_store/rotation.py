"""Keeps the keys of a worker up to date, and replaces them in time.

Runs in every worker of every machine. Each looks every few seconds; what is due is done by whoever gets the lock first
and finds it still to be done, and the others take it over at their next look.
"""

from __future__ import annotations

import random
import threading

from app.services.key_store.store import KeyStore

LOOK_SECONDS = 5.0
"""The longest that two workers differ about which key signs. Both keys are published all that time."""


class KeyRotation:
    """A background thread (a greenlet under gevent) that looks until it is told to stop."""

    def __init__(self, key_store: KeyStore, *, interval_seconds: float = LOOK_SECONDS) -> None:
        self._key_store = key_store
        self._interval_seconds = interval_seconds
        self._stopping = threading.Event()

    def start(self) -> threading.Thread:
        """Begins to look, at once; to be called in a worker, after the fork."""
        thread = threading.Thread(target=self._run, name="key-rotation", daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        """Ends it at the next opportunity; does not wait."""
        self._stopping.set()

    def _run(self) -> None:
        while True:
            self._key_store.follow()
            # Workers start together; spread, they seldom reach for the lock at the same moment.
            if self._stopping.wait(self._interval_seconds * random.uniform(0.8, 1.0)):  # noqa: S311
                return
