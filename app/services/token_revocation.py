"""Tells the provider that a session's tokens are of no more use (RFC 7009). Best effort: the session is over anyway."""

from __future__ import annotations

from app.observability import audit
from app.services.oidc_client import OidcClient
from app.services.session_store import SessionRecord
from app.services.token_store import TokenSet

REVOCATION_SECONDS = 3
"""How long whoever ends a session waits for the provider."""


def revoke_tokens(oidc_client: OidcClient, tokens: TokenSet, record: SessionRecord) -> None:
    """Revokes the refresh token, with which the access token goes at most providers (RFC 7009 §2.1). Does nothing for
    a session from the time of another provider: this one must not be shown its tokens."""
    if record.issuer != oidc_client.issuer:
        return
    token, hint = tokens.refresh_token, "refresh_token"
    if token is None:
        token, hint = tokens.access_token, "access_token"
    if oidc_client.revoke(token, hint, total_seconds=REVOCATION_SECONDS):
        audit.record("token.revoked", user_id=record.user_id, session=record.reference, token_type=hint)
