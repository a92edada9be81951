"""Sessions listed: those of one user, or everybody's. For users who look after their own, and for operators.

What is listed was live in the store a moment ago, whatever copies a worker holds. Sessions are named to people by their
`reference`; the `key` that comes along ends them, and neither can be used as a cookie. A session that was written by a
later version is not listed, because nobody here can tell whose it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from app.services.session_store.record import SessionRecord
from app.services.session_store.store import SessionStore


@dataclass(frozen=True, slots=True)
class ListedSession:
    """A live session, and the key for `SessionStore.end_by_key`."""

    key: str
    record: SessionRecord


class SessionCatalogue:
    """Every method may raise `StoreUnavailableError`. A listing costs one read a session."""

    def __init__(self, sessions: SessionStore) -> None:
        self._sessions = sessions

    def list_of_user(self, user_id: str) -> list[ListedSession]:
        """The one that was active last comes first."""
        listed = self._list(self._sessions.find_keys_of_user(user_id))
        # The name of the index is a hash of the user's id; the record says it in full.
        return [session for session in listed if session.record.user_id == user_id]

    def list_all(self) -> list[ListedSession]:
        """As `list_of_user`, for everybody."""
        return self._list(self._sessions.find_all_keys())

    def _list(self, keys: Iterable[str]) -> list[ListedSession]:
        found = ((key, self._sessions.find_stored_by_key(key)) for key in keys)
        listed = [ListedSession(key, record) for key, record in found if record is not None]
        return sorted(listed, key=_order, reverse=True)


def find_by_reference(listed: Iterable[ListedSession], reference: str) -> ListedSession | None:
    return next((session for session in listed if session.record.reference == reference), None)


def build_utc_time(epoch_seconds: float) -> str:
    """How people are told a time: ISO 8601, UTC, to the second."""
    return datetime.fromtimestamp(int(epoch_seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _order(session: ListedSession) -> tuple[float, float, str]:
    return session.record.last_seen_at, session.record.created_at, session.key
