"""Leaves a backend alone that has failed several times in a row.

A failure is an outcome in which the backend gave no HTTP answer: unreachable, too late, not HTTP. A 5xx answer is an
answer. Once `failures` of them came without a success between, every call is refused for `reset_seconds`; then one
call is let through as a trial, and its outcome decides. Outcomes of calls that were admitted before the circuit
opened change nothing while it is open.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from app.core.errors import CircuitOpenError


class CircuitBreaker:
    """One per service. Every `admit` is followed by exactly one of `succeed`, `fail` and `abandon`, with what it
    returned."""

    def __init__(
        self, failures: int, reset_seconds: float, monotonic: Callable[[], float], *, min_outcomes: int = 0
    ) -> None:
        """`failures` of 0 switches the breaker off; it does not open before it has seen `min_outcomes`."""
        self._failures_to_open = failures
        self._reset_seconds = reset_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._failures_in_a_row = 0
        self._outcomes_left = min_outcomes
        self._opened_at: float | None = None
        self._has_trial = False

    @property
    def is_open(self) -> bool:
        return self._opened_at is not None

    def admit(self) -> bool:
        """Returns whether this call is the trial of an open circuit; raises `CircuitOpenError` to refuse it."""
        if self._opened_at is None:
            return False
        return self._admit_to_open()

    def _admit_to_open(self) -> bool:
        with self._lock:
            opened_at = self._opened_at
            if opened_at is None:
                return False
            wait_seconds = opened_at + self._reset_seconds - self._monotonic()
            if wait_seconds > 0 or self._has_trial:
                raise CircuitOpenError(retry_after_seconds=max(1, math.ceil(wait_seconds)))
            self._has_trial = True
            return True

    def succeed(self, is_trial: bool) -> None:
        """The backend answered, whatever the status."""
        if self._outcomes_left > 0:
            self._outcomes_left -= 1
        if is_trial:
            with self._lock:
                self._has_trial = False
                self._opened_at = None
                self._failures_in_a_row = 0
        elif self._failures_in_a_row and self._opened_at is None:
            self._failures_in_a_row = 0

    def fail(self, is_trial: bool, *, at_once: bool = False) -> None:
        """The backend gave no answer; `at_once` opens the circuit without counting, one that is switched off too."""
        if not self._failures_to_open and not at_once and not is_trial:
            return
        with self._lock:
            if is_trial:
                self._has_trial = False
                self._opened_at = self._monotonic()
            elif self._opened_at is None and at_once:
                self._opened_at = self._monotonic()
            elif self._opened_at is None:
                self._failures_in_a_row += 1
                self._outcomes_left -= 1
                if self._failures_in_a_row >= self._failures_to_open and self._outcomes_left <= 0:
                    self._opened_at = self._monotonic()

    def abandon(self, is_trial: bool) -> None:
        """The call ended for a reason that says nothing about the backend; another may be the trial."""
        if is_trial:
            with self._lock:
                self._has_trial = False
