"""The identity provider ends sessions here (OIDC Back-Channel Logout 1.0). Knows nothing of Flask.

    accept   the logout token is judged, used up, and what it names is ended on every worker and machine
    revoke   afterwards, with the answer sent: the provider's refresh tokens that are of no more use

A logout token is good once. Its `jti` is taken for a moment first and for good when the work is done, so that a
provider that was told 503, or whose call died with our process, can send the same token again.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import msgspec

from app.core.errors import BadRequestError, StoreUnavailableError
from app.core.logout_token import MAX_AGE_SECONDS, LogoutToken
from app.observability import audit
from app.services.logout_marks import LogoutMarks
from app.services.oidc_client import OidcClient
from app.services.session_store import SessionRecord, SessionStore
from app.services.state_store import StateStore
from app.services.token_revocation import revoke_tokens
from app.services.token_store import TokenSet, TokenStore
from app.settings.schema.settings_file import OidcSettings

CLAIM_SECONDS = 5.0
"""How long a token is kept from others while it is worked on."""
REVOCATION_TOTAL_SECONDS = 10.0
"""How long revoking may go on in all; it holds a worker's greenlet and nobody else."""

OFFLINE_ACCESS = "offline_access"


@dataclass(frozen=True, slots=True)
class EndedSession:
    """A session that was there, and its tokens where there are any."""

    record: SessionRecord
    tokens: TokenSet | None


class BackchannelLogout:
    """One instance serves all requests."""

    def __init__(
        self,
        settings: OidcSettings,
        *,
        oidc_client: OidcClient,
        state_store: StateStore,
        session_store: SessionStore,
        token_store: TokenStore,
        marks: LogoutMarks,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._oidc_client = oidc_client
        self._state_store = state_store
        self._session_store = session_store
        self._token_store = token_store
        self._marks = marks
        self._monotonic = monotonic

    def accept(self, unverified_logout_token: str) -> Sequence[EndedSession]:
        """Ends what the token names and returns the sessions that were there.

        Raises `BadRequestError` for a token that is not good or was used before, `IdpUnavailableError` and
        `StoreUnavailableError` when it is worth sending again.
        """
        token = self._oidc_client.verify_logout_token(unverified_logout_token)
        with self._use_up(token):
            self._marks.leave(token)  # before looking: a login that is just ending sees it or is seen
            ended = [session for key in self._find_keys(token) if (session := self._end(key, token)) is not None]
        audit.record("logout.requested", subject=token.subject or "", ended=len(ended))
        return ended

    def revoke(self, ended: Sequence[EndedSession]) -> None:
        """Revokes refresh tokens, best effort, but for those that are meant to outlive the session (§2.7)."""
        deadline = self._monotonic() + REVOCATION_TOTAL_SECONDS
        for session in ended:
            if self._monotonic() >= deadline:
                return
            if session.tokens is not None and self._dies_with_session(session.tokens):
                revoke_tokens(self._oidc_client, session.tokens, session.record)

    @contextmanager
    def _use_up(self, token: LogoutToken) -> Iterator[None]:
        """Keeps `jti` for as long as the token could be sent again; raises `BadRequestError` when it was used."""
        packed = msgspec.msgpack.encode((token.issuer, token.token_id))
        name = f"logout-token:{hashlib.sha256(packed).hexdigest()}"
        if not self._state_store.add(name, b"", CLAIM_SECONDS):
            raise BadRequestError("The logout token is not accepted.", internal_reason="jti was used before")
        try:
            yield
        except Exception:
            with suppress(StoreUnavailableError):
                self._state_store.delete(name)
            raise
        self._state_store.put(name, b"", MAX_AGE_SECONDS + 2 * self._settings.clock_skew_seconds + CLAIM_SECONDS)

    def _find_keys(self, token: LogoutToken) -> frozenset[str]:
        if token.idp_session_id is None:
            return self._session_store.find_keys_of_subject(token.issuer, token.subject or "")
        named = self._session_store.find_keys_of_idp_session(token.issuer, token.idp_session_id)
        return named | self._find_unnamed_keys(token) if token.subject is not None else named

    def _find_unnamed_keys(self, token: LogoutToken) -> frozenset[str]:
        """Those of the subject whose logins told no `sid`: any of them may be the one that is meant (§2.7)."""
        keys = self._session_store.find_keys_of_subject(token.issuer, token.subject or "")
        found = {key: self._session_store.find_stored_by_key(key) for key in keys}
        return frozenset(key for key, record in found.items() if record is not None and not record.idp_session_id)

    def _end(self, key: str, token: LogoutToken) -> EndedSession | None:
        """Ends also what cannot be read: a login that is about to write it, or a record of a later version."""
        stored = self._session_store.find_stored_by_key(key)
        if stored is not None and not _is_meant(stored, token):
            return None
        tokens = self._token_store.find(key)
        record = self._session_store.end_by_key(key)
        if record is None:
            return None
        audit.record("session.ended", user_id=record.user_id, session=record.reference, reason="backchannel_logout")
        return EndedSession(record, tokens)

    def _dies_with_session(self, tokens: TokenSet) -> bool:
        """A provider that does not tell the scope gave what was asked for (RFC 6749 §5.1)."""
        scopes = tokens.scope.split() or self._settings.scopes
        return tokens.refresh_token is not None and OFFLINE_ACCESS not in scopes


def _is_meant(record: SessionRecord, token: LogoutToken) -> bool:
    return record.issuer == token.issuer and token.subject in (None, record.subject)
