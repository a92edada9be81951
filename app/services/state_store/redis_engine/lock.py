"""Locks with a lease: `SET NX PX` with a token of the holder's own, released by comparing and deleting.

Redis cannot tell that a holder died, so a lock is free again when its lease is over, and never extended. A holder that
took longer may find another one at work: it asks with `is_held` before it writes, and `put_if_current` refuses what is
outdated whatever it believes. A failover may forget a lock that no replica had yet; `is_held` sees that too. Locks that
are ours without a holder, because a reply was lost, go back as soon as Redis answers again (`LockReturns`).
"""

from __future__ import annotations

import hashlib
import random
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from app.core.errors import StoreUnavailableError
from app.services.state_store.redis_engine.caller import RedisCaller
from app.services.state_store.redis_engine.failures import UnclearOutcomeError
from app.services.state_store.redis_engine.lock_returns import LockReturns
from app.services.state_store.redis_engine.scripts import ACQUIRE, RELEASE, build_command, build_script_command

_TOKEN_BYTES = 16
_FIRST_PAUSE_SECONDS = 0.005
_LONGEST_PAUSE_SECONDS = 0.05
_PAUSE_GROWTH = 1.5
_KIND_ENDS = re.compile(r"[^a-z]")
"""A name begins with what the lock is for; the rest says whose it is."""

_log = structlog.get_logger(__name__)


class LeasedHold:
    """A lock that was had. `ends_at` is in monotonic seconds, counted from before it was asked for."""

    def __init__(
        self, caller: RedisCaller, key: str, token: bytes, ends_at: float, monotonic: Callable[[], float]
    ) -> None:
        self._caller = caller
        self.key = key
        self.token = token
        self._ends_at = ends_at
        self._monotonic = monotonic

    def __bool__(self) -> bool:
        return True

    def is_held(self) -> bool:
        """Asks Redis, unless the lease is over anyway. Raises `StoreUnavailableError`."""
        if self._monotonic() >= self._ends_at:
            return False
        return bool(self._caller.call("is_held", build_command("GET", self.key)) == self.token)

    def release(self) -> bool:
        """False when it was not ours any more. Raises `StoreUnavailableError`."""
        return bool(self._caller.call("release", build_script_command(RELEASE, self.key, self.token)))


class NoHold:
    """A lock that was not had in time."""

    def __bool__(self) -> bool:
        return False

    def is_held(self) -> bool:
        return False


class LeasedLocks:
    def __init__(
        self,
        caller: RedisCaller,
        key_prefix: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._caller = caller
        self._key_prefix = key_prefix
        self._monotonic = monotonic
        self._sleep = sleep
        self._returns = LockReturns(caller, monotonic=monotonic)

    def close(self) -> None:
        self._returns.stop()

    @contextmanager
    def hold(self, name: str, wait_seconds: float, lease_seconds: float) -> Iterator[LeasedHold | NoHold]:
        """Raises `StoreUnavailableError` when it cannot be asked for; what happens to it afterwards is only logged."""
        held = self._acquire(name, wait_seconds, lease_seconds)
        if held is None:
            yield NoHold()
            return
        try:
            yield held
        finally:
            self._release(name, held)

    def _acquire(self, name: str, wait_seconds: float, lease_seconds: float) -> LeasedHold | None:
        key = f"{self._key_prefix}lock:{{{hashlib.sha256(name.encode()).hexdigest()}}}"
        token = secrets.token_bytes(_TOKEN_BYTES)
        lease_milliseconds = max(1, round(lease_seconds * 1000))
        give_up_at = self._monotonic() + wait_seconds
        pause_seconds = _FIRST_PAUSE_SECONDS
        while True:
            ends_at = self._monotonic() + lease_seconds
            if self._ask(key, token, lease_milliseconds):
                return LeasedHold(self._caller, key, token, ends_at, self._monotonic)
            remaining_seconds = give_up_at - self._monotonic()
            if remaining_seconds <= 0:
                return None
            self._sleep(min(pause_seconds * random.uniform(0.5, 1.5), remaining_seconds))  # noqa: S311
            pause_seconds = min(pause_seconds * _PAUSE_GROWTH, _LONGEST_PAUSE_SECONDS)

    def _ask(self, key: str, token: bytes, lease_milliseconds: int) -> bool:
        """May be repeated with the same token: what was granted to it stays granted."""
        try:
            return bool(self._caller.call("lock", build_script_command(ACQUIRE, key, token, lease_milliseconds)))
        except UnclearOutcomeError:
            self._returns.note(key, token)
            raise

    def _release(self, name: str, held: LeasedHold) -> None:
        """The work is done: that its lock cannot be let go at once is no error of it."""
        kind = _KIND_ENDS.split(name, maxsplit=1)[0]
        try:
            if not held.release():
                _log.warning("store.lock_lost", lock=kind, reason="it was not ours any more when it was released")
        except StoreUnavailableError as error:
            self._returns.note(held.key, held.token)
            _log.warning("store.lock_not_released", lock=kind, reason=error.internal_reason)
