"""Decisions remembered for a while, per worker: bounded in number, each kind with a lifetime of its own.

A decision is remembered for the scope it was asked in: one session with its present claims, at the present epoch. So it
cannot outlive them: a session that ends is not found any more, claims that change and a new epoch make a new scope.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass

from app.services.pdp_answers import Decision

Scope = tuple[str, ...]


@dataclass(frozen=True)
class _Remembered:
    decision: Decision
    until: float


class DecisionCache:
    """Of `max_size` decisions the one remembered first goes first."""

    def __init__(
        self,
        *,
        ttl_allow_seconds: float,
        ttl_deny_seconds: float,
        max_size: int,
        monotonic: Callable[[], float],
    ) -> None:
        self._ttl_allow_seconds = ttl_allow_seconds
        self._ttl_deny_seconds = ttl_deny_seconds
        self._max_size = max_size
        self._monotonic = monotonic
        self._remembered: dict[tuple[Scope, bytes], _Remembered] = {}
        self._changing = threading.Lock()

    def find(self, scope: Scope, key: bytes) -> Decision | None:
        remembered = self._remembered.get((scope, key))
        if remembered is None or remembered.until <= self._monotonic():
            return None
        return remembered.decision

    def keep(self, scope: Scope, key: bytes, decision: Decision, seconds_left: float = math.inf) -> None:
        """Remembers a decision, unless it says itself that it is none to last; one that is not new for what is left."""
        seconds = min(seconds_left, self._ttl_allow_seconds if decision.is_allowed else self._ttl_deny_seconds)
        if seconds <= 0 or not decision.is_lasting:
            return
        with self._changing:
            self._remembered.pop((scope, key), None)
            self._remembered[scope, key] = _Remembered(decision, self._monotonic() + seconds)
            while len(self._remembered) > self._max_size:
                del self._remembered[next(iter(self._remembered))]

    def __len__(self) -> int:
        return len(self._remembered)
