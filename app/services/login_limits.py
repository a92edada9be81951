"""Bounds how many logins one client address may start (attack row L4), counted together by all workers.

Each started login leaves a record in the store for ten minutes; without a bound, a loop of requests fills it.
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

IPV6_HOME_PREFIX = 64
"""One IPv6 subscriber has at least a /64, so addresses are counted by it."""


class StateStoreLimitStorage(Storage):
    """What `limits` needs to count a fixed window over our `StateStore`; a store that is down raises its own error."""

    STORAGE_SCHEME = None

    def __init__(self, state: StateStore) -> None:
        super().__init__()
        self._state = state

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        """None to translate: `StoreUnavailableError` is already the answer."""
        return ()

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Counts `key` up, once for each of `amount`."""
        name = f"limit:{sha256(key.encode()).hexdigest()}"
        return max(self._state.increment(name, expiry) for _ in range(amount))

    def get(self, key: str) -> int:
        """Not needed by a fixed window that is only ever hit."""
        raise NotImplementedError

    def get_expiry(self, key: str) -> float:
        """Not needed: the window's number is part of the key."""
        raise NotImplementedError

    def check(self) -> bool:
        """Raises when the store is not usable."""
        self._state.check()
        return True

    def reset(self) -> int | None:
        """Not needed: counters expire."""
        raise NotImplementedError

    def clear(self, key: str) -> None:
        """Not needed: counters expire."""
        raise NotImplementedError


class LoginLimiter:
    """Holds client addresses to `limits.login_starts`, in windows that begin at whole multiples of their length."""

    def __init__(self, state: StateStore, rate: str, *, clock: Callable[[], float]) -> None:
        self._limiter = FixedWindowRateLimiter(StateStoreLimitStorage(state))
        self._rate = limits.parse(rate) if rate else None
        self._clock = clock

    def check(self, client_address: str) -> None:
        """Counts one start; raises `RateLimitedError` with the time until the next window."""
        if self._rate is None:
            return
        length, now = self._rate.get_expiry(), self._clock()
        window = math.floor(now / length)
        if not self._limiter.hit(self._rate, "login", group_address(client_address), str(window)):
            retry_after = max(1, math.ceil((window + 1) * length - now))
            raise RateLimitedError("Too many logins were started from here.", retry_after_seconds=retry_after)


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
