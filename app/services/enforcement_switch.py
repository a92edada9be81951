"""`pdp.enabled`: whether decisions are asked for at all. Off is said loudly, for as long as it is off."""

from __future__ import annotations

from collections.abc import Callable

from app.observability import logs

SAY_AGAIN_SECONDS = 60.0

log = logs.get_logger(__name__)


class EnforcementSwitch:
    """One a worker."""

    def __init__(self, *, is_on: bool, count: Callable[[str], None], monotonic: Callable[[], float]) -> None:
        """`count` is told `off` for each question that was not asked."""
        self.is_on = is_on
        self._count = count
        self._monotonic = monotonic
        self._say_from = float("-inf")
        self._unsaid = 0

    def lets_pass(self, questions: int = 1) -> bool:
        """Whether what needs `questions` permissions passes unasked; counts them, and says so once a minute."""
        if self.is_on:
            return False
        for _ in range(questions):
            self._count("off")
        self._unsaid += questions
        now = self._monotonic()
        if now >= self._say_from:
            log.error("pdp.enforcement_off", why="pdp.enabled is false", passed_unasked=self._unsaid)
            self._say_from = now + SAY_AGAIN_SECONDS
            self._unsaid = 0
        return True
