"""What a back-channel logout leaves behind for a login that it overtook.

The provider may end a session before the login that makes it here has come to its end. So a logout leaves a mark and
then looks for sessions; a login makes its session and then looks for marks. Whichever comes second sees the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from app.core.logout_token import LogoutToken
from app.services.login_attempts import LIFETIME_SECONDS
from app.services.session_store import SessionRecord
from app.services.session_store.store import TOMBSTONE_LIFETIME_SECONDS
from app.services.state_store import StateStore

MARK_LIFETIME_SECONDS = LIFETIME_SECONDS + TOMBSTONE_LIFETIME_SECONDS
"""A login may take the one from its start to the callback, and has the other for its last steps."""


class LogoutMarks:
    """Every method may raise `StoreUnavailableError`."""

    def __init__(self, state_store: StateStore, *, clock: Callable[[], float]) -> None:
        self._state_store = state_store
        self._clock = clock

    def leave(self, token: LogoutToken) -> None:
        """Marks what the token ends: a session at the provider, for good, or all of a subject's until now; with the
        session also those of its subject of which nobody told the `sid`.

        "Now" is when the word came and not when it was sent: it is compared with times of our own clocks only.
        """
        now = msgspec.msgpack.encode(self._clock())
        names = []
        if token.idp_session_id is not None:
            names.append(_build_name("sid", token.issuer, token.idp_session_id))
        if token.subject is not None:
            kind = "sub" if token.idp_session_id is None else "sub-without-sid"
            names.append(_build_name(kind, token.issuer, token.subject))
        for name in names:
            self._state_store.put(name, now, MARK_LIFETIME_SECONDS, durable=True)

    def cover(self, record: SessionRecord, login_started_at: float) -> bool:
        """Tells whether the provider has ended this session already.

        A user whose sessions all ended may log in again at once, so of a subject only the logins count that had begun.
        """
        sid = record.idp_session_id
        if sid and self._state_store.find(_build_name("sid", record.issuer, sid)) is not None:
            return True
        kinds = ("sub",) if sid else ("sub", "sub-without-sid")
        marks = [self._state_store.find(_build_name(kind, record.issuer, record.subject)) for kind in kinds]
        return any(mark and login_started_at <= msgspec.msgpack.decode(mark.value, type=float) for mark in marks)


def _build_name(kind: str, issuer: str, identifier: str) -> str:
    """Packed before hashing, so that no two pairs read the same."""
    return f"logout-of-{kind}:{hashlib.sha256(msgspec.msgpack.encode((issuer, identifier))).hexdigest()}"
