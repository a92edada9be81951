"""How many sessions a user may have: beyond `session.max_per_user` the oldest goes.

The oldest is the one whose login is longest ago. The time of last use would be the worse measure: it is written down
once a touch interval, so which of two sessions is the older one would be chance, and a stolen session could stay by
being used.

Logins of one user take turns, from before the session is made until what is too much has ended. So each sees all the
sessions that logins before it have left, two can neither add up to more than the limit nor each end the other's, and
nothing is ended for a login that fails.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from app.core.errors import StoreUnavailableError
from app.services.session_store.catalogue import ListedSession, SessionCatalogue
from app.services.session_store.store import SessionStore
from app.services.state_store import LockHold, StateStore

TURN_WAIT_SECONDS = 10.0
"""How long a login waits for those before it; each takes a few milliseconds."""


class SessionLimit:
    """`max_per_user` 0: no limit, and no turns are taken."""

    def __init__(self, state: StateStore, sessions: SessionStore, *, max_per_user: int) -> None:
        self._state = state
        self._catalogue = SessionCatalogue(sessions)
        self._max_per_user = max_per_user

    @contextmanager
    def turn(self, user_id: str) -> Iterator[LoginTurn]:
        """Keeps the user's other logins waiting. Raises `StoreUnavailableError` when ours does not come."""
        if not self._max_per_user:
            yield LoginTurn(self._catalogue, user_id)
            return
        name = f"login-{hashlib.sha256(user_id.encode()).hexdigest()}"
        with self._state.lock(name, TURN_WAIT_SECONDS) as hold:
            if not hold:
                raise StoreUnavailableError(internal_reason="other logins of this user do not end")
            yield LoginTurn(self._catalogue, user_id, self._max_per_user, hold)


@dataclass(frozen=True, slots=True)
class LoginTurn:
    """The time in which one login of a user is the only one."""

    _catalogue: SessionCatalogue
    _user_id: str
    _max_per_user: int = 0
    _hold: LockHold | None = None

    def find_surplus(self, own_key: str) -> Sequence[ListedSession]:
        """Returns the sessions that have to end so that the one just made (`own_key`) is not too many; oldest first.

        Raises `StoreUnavailableError` also when the turn was over before: another login may be at work by now.
        """
        if self._hold is None:
            return ()
        surplus = select_surplus(self._catalogue.list_of_user(self._user_id), own_key, self._max_per_user)
        if surplus and not self._hold.is_held():
            raise StoreUnavailableError(internal_reason="the login took longer than its turn")
        return surplus


def select_surplus(listed: Sequence[ListedSession], own_key: str, max_per_user: int) -> list[ListedSession]:
    """Returns what is beyond the limit, oldest first, and never the session of `own_key`: clocks of machines differ, so
    the newest need not look it."""
    others = sorted(
        (session for session in listed if session.key != own_key),
        key=lambda session: (session.record.created_at, session.key),
    )
    return others[: max(0, len(others) + 1 - max_per_user)]
