"""Counts the logout tokens of an address that are not good, and has it told to wait when there are too many.

A good token is heard from every address, however many bad ones came from there: who shares the provider's address, or
stands behind the same edge, must not be able to keep its logouts away from us. Only refusals count, so a provider that
ends ten thousand sessions in a minute never meets the bound. Each worker counts by itself and in memory: a call from a
stranger must not cost the store anything.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

from app.core.errors import RateLimitedError
from app.services.rate_limits import group_address

MOST_REFUSALS = 120
WINDOW_SECONDS = 60.0
MOST_ADDRESSES = 10_000
"""Beyond these, the addresses of one window are counted as one."""

_ALL_OTHERS = "others"


class LogoutRefusals:
    """One a worker."""

    def __init__(self, *, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._counts: Counter[str] = Counter()
        self._window_ends_at = float("-inf")

    def check(self, client_address: str) -> None:
        """Raises `RateLimitedError` for an address whose tokens were refused too often."""
        left = self._window_ends_at - self._monotonic()
        if left > 0 and self._counts[self._find_name(client_address)] >= MOST_REFUSALS:
            raise RateLimitedError(
                "Too many logout tokens from here were refused.", retry_after_seconds=max(1, math.ceil(left))
            )

    def note(self, client_address: str) -> None:
        """Counts a refusal."""
        now = self._monotonic()
        if now >= self._window_ends_at:
            self._counts.clear()
            self._window_ends_at = now + WINDOW_SECONDS
        self._counts[self._find_name(client_address)] += 1

    def _find_name(self, client_address: str) -> str:
        name = group_address(client_address)
        return name if name in self._counts or len(self._counts) < MOST_ADDRESSES else _ALL_OTHERS
