"""Renews in the background what falls due, so that calls seldom wait for the provider.

Runs in every worker. All share one agenda, and each session on it is claimed by one worker at a time. Renewals run
beside each other, a bounded number of them; as soon as there is room the next are claimed, so a worker that is behind
does not wait for its next look. When the provider fails for all, looks end early and only try it now and then.

Not even a claim decides that a refresh token is spent once: that is `SessionTokens`, under the session's lock.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from app.core.errors import BffError, StoreUnavailableError
from app.observability import logs
from app.services.refresh_agenda import RefreshAgenda
from app.services.state_store import Claim

DONE, DROPPED, FAILED = "done", "dropped", "failed"

log = logs.get_logger(__name__)


class TokenRefresher:
    """Background threads (greenlets under gevent), one that looks and one for each renewal under way."""

    def __init__(
        self,
        agenda: RefreshAgenda,
        *,
        renew: Callable[[str], float | None],
        is_worth_renewing: Callable[[str], bool],
        count: Callable[[str], None],
        renew_service_tokens: Callable[[], None] | None = None,
        concurrency: int = 8,
    ) -> None:
        """`renew(session_key)` renews what is due and returns when more is (epoch seconds), or None: never; it raises a
        `BffError` when it could not. `is_worth_renewing(session_key)`: whether the session may still be used.
        `count` is told what became of each claim: done, dropped or failed. `renew_service_tokens` renews those that
        this worker holds."""
        self._agenda = agenda
        self._renew = renew
        self._is_worth_renewing = is_worth_renewing
        self._count = count
        self._renew_service_tokens = renew_service_tokens
        self._concurrency = concurrency
        self._least_room = max(
            1, concurrency // 2
        )  # some at a time: a claim costs the store as much for one as for eight
        self._changed = threading.Condition()
        self._is_stopping = False
        self._are_service_tokens_under_way = False
        self._under_way = 0
        self._failures_in_a_row = 0
        self._looking: threading.Thread | None = None

    def start(self) -> threading.Thread:
        """Begins to look; to be called in a worker, after the fork."""
        self._looking = threading.Thread(target=self._run, name="token-refresher", daemon=True)
        self._looking.start()
        return self._looking

    def stop(self, timeout_seconds: float) -> bool:
        """Begins nothing more and waits for what is under way; False when that did not end in time.

        What is cut off then was claimed for a lease: others renew it when that is over.
        """
        give_up_at = time.monotonic() + timeout_seconds
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        if self._looking is not None:
            self._looking.join(timeout_seconds)
        return self.wait_until_idle(give_up_at - time.monotonic())

    def wait_until_idle(self, timeout_seconds: float) -> bool:
        """Waits until nothing is under way; False when that did not come in time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._under_way and not self._are_service_tokens_under_way, max(timeout_seconds, 0)
            )

    def look(self) -> None:
        """Begins to renew all that is due; returns when no more is, with the last renewals still under way."""
        self._begin_service_tokens()
        with self._changed:
            self._failures_in_a_row = 0
        try:
            while room := self._wait_for_room():
                claims = self._agenda.claim(room)
                for claim in claims:
                    self._begin(claim)
                if len(claims) < room:
                    return
        except StoreUnavailableError as error:
            log.warning("token_refresh.look_failed", reason=error.internal_reason)

    def _run(self) -> None:
        while not self._is_to_stop_within(self._agenda.choose_pause()):
            try:
                self.look()
            except Exception as error:
                log.exception("token_refresh.look_crashed", error_type=type(error).__name__)

    def _is_to_stop_within(self, seconds: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._is_stopping, seconds)

    def _wait_for_room(self) -> int:
        """Returns how many renewals may begin, 0 when the look is to end."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._is_over_for_now() or self._concurrency - self._under_way >= self._least_room
            )
            return 0 if self._is_over_for_now() else self._concurrency - self._under_way

    def _is_over_for_now(self) -> bool:
        """As many failures in a row as renewals run beside each other: the provider fails for all."""
        return self._is_stopping or self._failures_in_a_row >= self._concurrency

    # One renewal

    def _begin(self, claim: Claim) -> None:
        with self._changed:
            if not self._is_stopping:
                threading.Thread(target=self._process, args=(claim,), name="token-refresh", daemon=True).start()
                self._under_way += 1
                return
        self._agenda.give_back(claim)

    def _process(self, claim: Claim) -> None:
        outcome = FAILED
        try:
            outcome = self._renew_claimed(claim)
            self._count(outcome)
        finally:
            with self._changed:
                self._under_way -= 1
                self._failures_in_a_row = self._failures_in_a_row + 1 if outcome == FAILED else 0
                self._changed.notify_all()

    def _renew_claimed(self, claim: Claim) -> str:
        try:
            due_again_at = self._renew(claim.member) if self._is_worth_renewing(claim.member) else None
        except BffError as error:
            self._log_failure(error)
        except Exception as error:
            log.exception("token_refresh.crashed", error_type=type(error).__name__)
        else:
            self._agenda.settle(claim, due_again_at)
            return DROPPED if due_again_at is None else DONE
        self._agenda.postpone(claim)
        return FAILED

    def _log_failure(self, error: BffError) -> None:
        """Only the first in a row: while a provider is down, it is a failure for every session."""
        if self._failures_in_a_row == 0:
            log.warning("token_refresh.failed", code=error.code, reason=error.internal_reason)

    # Service tokens

    def _begin_service_tokens(self) -> None:
        """Beside all else; not when the last time is still under way."""
        with self._changed:
            if self._renew_service_tokens is None or self._are_service_tokens_under_way or self._is_stopping:
                return
            threading.Thread(target=self._process_service_tokens, name="service-tokens", daemon=True).start()
            self._are_service_tokens_under_way = True

    def _process_service_tokens(self) -> None:
        try:
            if self._renew_service_tokens is not None:
                self._renew_service_tokens()
        except BffError as error:
            log.warning("service_tokens.not_renewed", code=error.code, reason=error.internal_reason)
        except Exception as error:
            log.exception("service_tokens.crashed", error_type=type(error).__name__)
        finally:
            with self._changed:
                self._are_service_tokens_under_way = False
                self._changed.notify_all()
