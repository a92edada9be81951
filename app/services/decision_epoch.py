"""The epoch that remembered decisions belong to, shared by all workers and machines.

A new epoch makes every decision that was remembered before unreachable, everywhere: each worker reads the epoch's
record with every call, as a rule from a copy that it drops as soon as the record changes.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

from app.services.session_store.local_copies import LocalCopies
from app.services.state_store import StateStore

_NAME = "decisions:epoch"
_LIFETIME_SECONDS = 365 * 24 * 3600.0
_EPOCH_BYTES = 12


class DecisionEpoch:
    """One a worker. Every method may raise `StoreUnavailableError`."""

    def __init__(self, state: StateStore, *, local_cache_seconds: float, clock: Callable[[], float]) -> None:
        self._state = state
        self._clock = clock
        self.copies: LocalCopies[str] = LocalCopies(state.is_current, max_age_seconds=local_cache_seconds)

    def get(self) -> str:
        """Returns the present epoch; begins the first one where there is none."""
        now = self._clock()
        epoch = self.copies.find(_NAME, now)
        return epoch if epoch is not None else self._read(now)

    def advance(self) -> None:
        """Begins a new epoch: what was decided until now is forgotten on every node."""
        self._state.put(_NAME, _make_epoch(), _LIFETIME_SECONDS, durable=True)
        self.copies.drop(_NAME)

    def _read(self, now: float) -> str:
        stored = self._state.find(_NAME)
        if stored is None:
            self._state.add(_NAME, _make_epoch(), _LIFETIME_SECONDS)
            stored = self._state.find(_NAME)
        if stored is None:
            return ""  # taken away at this very moment; the next call begins another
        epoch = stored.value.decode("ascii", errors="replace")
        self.copies.keep(_NAME, epoch, stored.mark, now)
        return epoch


def _make_epoch() -> bytes:
    return secrets.token_hex(_EPOCH_BYTES).encode("ascii")
