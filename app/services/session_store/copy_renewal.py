"""Keeps the copies that are in use young, so that calls seldom wait for the store.

A copy may be used for `session.local_cache_seconds`. Those that were used and are half as old as that are looked at
together: a record that is still the same one need not be read, opened and decoded again. What a look does not confirm
is left to grow too old, and the next call reads it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from app.core.errors import StoreUnavailableError
from app.observability import logs
from app.services.session_store.local_copies import LocalCopies
from app.services.state_store import StateStore

AT_ONCE = 16
"""Copies that are looked at in one go: a quarter of a millisecond, in which no call goes on."""
ROUNDS_IN_A_LIFE = 8
SHORTEST_INTERVAL_SECONDS = 0.1

_log = logs.get_logger(__name__)


class CopyRenewal:
    """A background thread (a greenlet under gevent), one a worker."""

    def __init__(
        self,
        state: StateStore,
        copies: Sequence[LocalCopies[Any]],
        *,
        max_age_seconds: float,
        clock: Callable[[], float],
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._state = state
        self._copies = copies
        self._max_age_seconds = max_age_seconds
        self._clock = clock
        self._sleep = sleep
        self._stopping = threading.Event()

    def start(self) -> None:
        """To be called in a worker, after the fork. Nothing is begun where no copies are made."""
        if self._max_age_seconds > 0:
            threading.Thread(target=self._run, name="copy-renewal", daemon=True).start()

    def stop(self) -> None:
        """Ends it at the next opportunity; does not wait."""
        self._stopping.set()

    def renew(self) -> None:
        """One round, which goes on for no longer than copies live. Raises `StoreUnavailableError`."""
        began_at = self._clock()
        for copies in self._copies:
            aging = copies.list_aging(self._clock())
            names = list(aging)
            for start in range(0, len(names), AT_ONCE):
                now = self._clock()  # before the look: a copy is never younger than what it was seen with
                if not 0 <= now - began_at < self._max_age_seconds:
                    return
                marks = self._state.confirm({name: aging[name].mark for name in names[start : start + AT_ONCE]})
                for name, mark in marks.items():
                    copies.renew(name, aging[name], mark, now)
                self._sleep(0)  # others may go on, also where the look itself waits for nothing

    def _run(self) -> None:
        interval_seconds = max(self._max_age_seconds / ROUNDS_IN_A_LIFE, SHORTEST_INTERVAL_SECONDS)
        while not self._stopping.wait(interval_seconds):
            try:
                self.renew()
            except StoreUnavailableError:
                continue  # said by the calls that need it
            except Exception as error:  # noqa: BLE001  a renewal that ended would make every call wait again
                _log.exception("copy_renewal.failed", error_type=type(error).__name__)
