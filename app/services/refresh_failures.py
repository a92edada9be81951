"""What a refresh failed for a moment ago, and is not tried again for yet."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable

from app.services.state_store.interface import StateStore
from app.services.token_targets import TokenTarget

REFUSED_TARGET_SECONDS = 60
"""How long a target that the provider refused is not asked for again."""
_MOST_FAILURES = 10_000


class RefreshFailures:
    """Failures are this worker's own and bounded: the oldest are forgotten first.

    Refusals of a target are everybody's: some providers spend the refresh token even on a refresh that they refuse, and
    another worker that asked for the same would use it a second time.
    """

    def __init__(self, state_store: StateStore, clock: Callable[[], float]) -> None:
        self._state_store = state_store
        self._clock = clock
        self._until: dict[tuple[str, str], float] = {}
        self._changing = threading.Lock()

    def has(self, session_key: str, target: TokenTarget) -> bool:
        """Whether this worker failed a moment ago; costs nothing."""
        return self._until.get((session_key, target.key), 0.0) > self._clock()

    def note(self, session_key: str, target: TokenTarget, seconds: float) -> None:
        with self._changing:
            self._until.pop((session_key, target.key), None)
            self._until[session_key, target.key] = self._clock() + seconds
            while len(self._until) > _MOST_FAILURES:
                del self._until[next(iter(self._until))]

    def is_refused(self, session_key: str, target: TokenTarget) -> bool:
        """Whether the provider refused this target to this session, whichever worker asked. Asks the store."""
        return self._state_store.find(_build_refusal_name(session_key, target)) is not None

    def note_refused(self, session_key: str, target: TokenTarget) -> None:
        self.note(session_key, target, REFUSED_TARGET_SECONDS)
        self._state_store.put(_build_refusal_name(session_key, target), b"1", REFUSED_TARGET_SECONDS)


def _build_refusal_name(session_key: str, target: TokenTarget) -> str:
    return f"refused-target:{hashlib.sha256(f'{session_key} {target.key}'.encode()).hexdigest()}"
