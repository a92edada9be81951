"""A user's own sessions: which there are, and the end of one, from whatever device it is asked for."""

from __future__ import annotations

from app.core.errors import RouteNotFoundError
from app.observability import audit
from app.services.oidc_client import OidcClient
from app.services.session_store import (
    ListedSession,
    SessionCatalogue,
    SessionRecord,
    SessionStore,
    find_by_reference,
)
from app.services.token_revocation import revoke_tokens
from app.services.token_store import TokenStore


class OwnSessions:
    """One instance serves all requests. Every method may raise `StoreUnavailableError`."""

    def __init__(self, *, session_store: SessionStore, token_store: TokenStore, oidc_client: OidcClient) -> None:
        self._session_store = session_store
        self._token_store = token_store
        self._oidc_client = oidc_client
        self._catalogue = SessionCatalogue(session_store)

    def list_all(self, asking: SessionRecord) -> list[ListedSession]:
        """The live sessions of the user whose session asks; the one that was active last comes first."""
        return self._catalogue.list_of_user(asking.user_id)

    def end(self, asking: SessionRecord, reference: str) -> bool:
        """Ends a session of the user whose session asks; False when somebody else ended it at the same moment.

        Raises `RouteNotFoundError` when the user has none of this reference, whoever else may have.
        """
        listed = self.list_all(asking)
        chosen = find_by_reference(listed, reference)
        if chosen is None:
            raise RouteNotFoundError("You have no session of this id.")
        tokens = self._token_store.find(chosen.key)
        ended = self._session_store.end_by_key(chosen.key)
        if ended is None:
            return False
        audit.record(
            "session.ended",
            user_id=ended.user_id,
            session=ended.reference,
            reason="ended_by_user",
            by_session=asking.reference,
        )
        if tokens is not None and not _shares_grant(chosen, listed):
            revoke_tokens(self._oidc_client, tokens, ended)
        return True


def _shares_grant(ended: ListedSession, listed: list[ListedSession]) -> bool:
    """Tells whether another session may hang on the same grant at the provider, so that revoking would end it too.

    Providers keep one grant for each of their own sessions (`sid`). One that names none may keep one for each user.
    """
    sid = ended.record.idp_session_id
    return any(
        session.record.issuer == ended.record.issuer and (not sid or session.record.idp_session_id in ("", sid))
        for session in listed
        if session.key != ended.key
    )
