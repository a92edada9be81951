"""Holds somebody to so many of something in a time, counted together by all workers and machines.

Counted in fixed windows that begin at whole multiples of their length, so that all agree where one ends. Who is over
the limit is refused from memory until then, so a flood costs the store no more than the limit does.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable
from hashlib import sha256

import limits
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

from app.core.errors import RateLimitedError
from app.services.state_store.interface import StateStore

_MOST_LOCAL_COUNTS = 50_000
_MOST_REFUSED = 10_000

IPV6_HOME_PREFIX = 64
"""One IPv6 subscriber has at least a /64, so addresses are counted by it."""


class _HitStorage(Storage):
    """As much of a storage as a fixed window needs that is only ever hit: the window's number is part of the key, and
    counters expire by themselves."""

    STORAGE_SCHEME = None

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """None to translate: `StoreUnavailableError` is already the answer."""
        return ()

    def get(self, key: str) -> int:
        raise NotImplementedError

    def get_expiry(self, key: str) -> float:
        raise NotImplementedError

    def reset(self) -> int | None:
        raise NotImplementedError

    def clear(self, key: str) -> None:
        raise NotImplementedError


class StateStoreLimitStorage(_HitStorage):
    """Counts in our `StateStore`, together with all workers; a store that is down raises its own error."""

    def __init__(self, state: StateStore) -> None:
        super().__init__()
        self._state = state

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Counts `key` up, once for each of `amount`."""
        name = f"limit:{sha256(key.encode()).hexdigest()}"
        return max(self._state.increment(name, expiry) for _ in range(amount))

    def check(self) -> bool:
        """Raises when the store is not usable."""
        self._state.check()
        return True


class LocalLimitStorage(_HitStorage):
    """Counts in this worker alone; bounded, so that of very many the oldest are forgotten."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._counts: dict[str, tuple[int, float]] = {}

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        now = self._clock()
        count, expires_at = self._counts.get(key, (0, now + expiry))
        self._counts[key] = (count + amount, expires_at)
        if len(self._counts) > _MOST_LOCAL_COUNTS:
            self._counts = {name: entry for name, entry in self._counts.items() if entry[1] > now}
        if len(self._counts) > _MOST_LOCAL_COUNTS:
            del self._counts[next(iter(self._counts))]
        return count + amount

    def check(self) -> bool:
        return True


class RateLimit:
    """One limit, for all whom it holds."""

    def __init__(self, storage: Storage, rate: str, *, name: str, refusal: str, clock: Callable[[], float]) -> None:
        """`name` sets its counts apart from those of other limits; `refusal` is what who is over it is told."""
        self._limiter = FixedWindowRateLimiter(storage)
        self._rate = limits.parse(rate)
        self._name = name
        self._refusal = refusal
        self._clock = clock
        self._refused: dict[str, int] = {}
        """Who was refused, and in which window."""

    def check(self, who: str) -> None:
        """Counts one; raises `RateLimitedError` with the time until the next window, and what the storage raises."""
        length, now = self._rate.get_expiry(), self._clock()
        window = math.floor(now / length)
        if self._refused.get(who) == window or not self._limiter.hit(self._rate, self._name, who, str(window)):
            self._remember(who, window)
            retry_after = max(1, math.ceil((window + 1) * length - now))
            raise RateLimitedError(self._refusal, retry_after_seconds=retry_after)

    def _remember(self, who: str, window: int) -> None:
        self._refused[who] = window
        if len(self._refused) > _MOST_REFUSED:
            self._refused = {name: of_window for name, of_window in self._refused.items() if of_window == window}
        if len(self._refused) > _MOST_REFUSED:
            del self._refused[next(iter(self._refused))]


def build_login_limit(state: StateStore, rate: str, *, clock: Callable[[], float]) -> RateLimit | None:
    """`limits.login_starts`, per client address (attack row L4): each started login leaves a record in the store for
    ten minutes, and without a bound a loop of requests fills it."""
    if not rate:
        return None
    refusal = "Too many logins were started from here."
    return RateLimit(StateStoreLimitStorage(state), rate, name="login", refusal=refusal, clock=clock)


def group_address(client_address: str) -> str:
    """Returns what an address is counted under; text that is no address counts as itself."""
    try:
        address = ipaddress.ip_address(client_address)
    except ValueError:
        return client_address
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, IPV6_HOME_PREFIX), strict=False))
    return str(address)
