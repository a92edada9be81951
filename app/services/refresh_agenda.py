"""When each session's tokens are renewed in the background: one agenda that all workers and machines share.

A renewal is put down for the time the tokens ask for (`SessionTokens`) and a little more, which differs from session to
session: those who logged in together, or failed together, do not come back together. That little and the pause between
two looks are parts of `refresh_ahead_seconds`, so a token is renewed well before it expires.

What is not on the agenda is renewed by the call that wants it: tokens that live for a few seconds only, and sessions
that could not be put down because the store failed at that moment.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

from app.core.errors import StoreUnavailableError
from app.observability import logs
from app.services.state_store import Claim, StateStore

AGENDA = "token-refresh"

FIRST_BACK_OFF_SECONDS = 5.0
LONGEST_BACK_OFF_SECONDS = 300.0
_SOONEST_SECONDS = 1.0
_COMPLAINT_SECONDS = 60.0
_MOST_FAILURES = 10_000

log = logs.get_logger(__name__)


class RefreshAgenda:
    """One a worker. Members are session keys; times are epoch seconds by `clock`."""

    def __init__(
        self,
        state_store: StateStore,
        *,
        refresh_ahead_seconds: float,
        interval_seconds: float,
        lease_seconds: float,
        clock: Callable[[], float],
        choose: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`interval_seconds`: how long to wait at most between two looks; `lease_seconds`: longer than a renewal can
        take; `choose` picks a number between two."""
        self._state_store = state_store
        self._longest_spread_seconds = refresh_ahead_seconds / 4
        self._longest_pause_seconds = _choose_longest_pause(interval_seconds, refresh_ahead_seconds)
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._choose = choose
        self._failures = _Failures()
        self._complain_again_at = float("-inf")

    def choose_pause(self) -> float:
        """Seconds until the next look: never the same twice, so that workers that started together drift apart."""
        return self._choose(self._longest_pause_seconds / 2, self._longest_pause_seconds)

    def schedule(self, session_key: str, due_at: float) -> None:
        """Puts down when a session's tokens have to be renewed, in place of what was put down before.

        Does not fail: what it is called after has succeeded, and stays so.
        """
        try:
            self._state_store.schedule(AGENDA, session_key, self._build_delay(due_at))
        except StoreUnavailableError as error:
            self._complain("token_refresh.not_scheduled", error)

    def claim(self, limit: int) -> tuple[Claim, ...]:
        """Takes sessions that are due. Raises `StoreUnavailableError`."""
        return self._state_store.claim_due(AGENDA, limit=limit, lease_seconds=self._lease_seconds)

    def settle(self, claim: Claim, due_again_at: float | None) -> None:
        """The session is done with, for now or (None) for good. What was scheduled meanwhile counts more."""
        self._failures.forget(claim.member)
        self._settle(claim, None if due_again_at is None else self._build_delay(due_again_at))

    def postpone(self, claim: Claim) -> None:
        """The renewal failed: it is tried again later, and each time later still."""
        count = self._failures.add(claim.member)
        longest = min(FIRST_BACK_OFF_SECONDS * 2.0 ** (count - 1), LONGEST_BACK_OFF_SECONDS)
        self._settle(claim, self._choose(longest / 2, longest))

    def give_back(self, claim: Claim) -> None:
        """Nothing was tried: whoever looks next may have it."""
        self._settle(claim, 0.0)

    def _settle(self, claim: Claim, again_in_seconds: float | None) -> None:
        """If the store fails here, the session is due again when its lease is over."""
        try:
            self._state_store.settle(AGENDA, claim, again_in_seconds=again_in_seconds)
        except StoreUnavailableError as error:
            self._complain("token_refresh.not_settled", error)

    def _build_delay(self, due_at: float) -> float:
        delay_seconds = max(due_at - self._clock(), 0.0)
        spread_seconds = min(self._longest_spread_seconds, delay_seconds / 4)
        return max(delay_seconds + self._choose(0.0, spread_seconds), _SOONEST_SECONDS)

    def _complain(self, event: str, error: StoreUnavailableError) -> None:
        now = self._clock()
        if now >= self._complain_again_at:
            self._complain_again_at = now + _COMPLAINT_SECONDS
            log.warning(event, reason=error.internal_reason)


class _Failures:
    """How often each renewal has failed in a row, as far as this worker knows. The oldest are forgotten first."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._changing = threading.Lock()

    def add(self, member: str) -> int:
        with self._changing:
            count = self._counts.pop(member, 0) + 1
            self._counts[member] = min(count, 16)
            if len(self._counts) > _MOST_FAILURES:
                del self._counts[next(iter(self._counts))]
            return count

    def forget(self, member: str) -> None:
        with self._changing:
            self._counts.pop(member, None)


def _choose_longest_pause(interval_seconds: float, refresh_ahead_seconds: float) -> float:
    """Three looks while a token is due and still good, whatever the interval."""
    if refresh_ahead_seconds <= 0:
        return interval_seconds
    return min(interval_seconds, max(refresh_ahead_seconds / 3, _SOONEST_SECONDS))
