"""Who is calling: the result of step 3, whatever the credentials were."""

from __future__ import annotations

from collections.abc import Mapping


class Identity:
    """A user whose session (or bearer token) was found good.

    `user_id` is the ID token's `sub` (or the claim named by `oidc.user_id_claim`); `subject` is always `sub`.
    `session_reference` names the session to backends and logs and cannot be used as a cookie; it is empty for a caller
    who has none. Nobody changes one.
    """

    def __init__(
        self,
        user_id: str,
        subject: str,
        provider: str,
        session_reference: str,
        claims: Mapping[str, object],
        claims_version: int = 0,
    ) -> None:
        self.user_id = user_id
        self.subject = subject
        self.provider = provider
        self.session_reference = session_reference
        self.claims = claims
        self.claims_version = claims_version
        """Counts the changes of `claims` during the session."""
        self.decision_scope: tuple[str, ...] = (provider, user_id, session_reference, str(claims_version))
        """What decisions about this user are remembered within: this session, with its claims as they are now."""

    @property
    def original_user(self) -> str:
        """The value of `X-Original-User`: which account, at which provider."""
        return f"auth:account:{self.provider}:{self.subject}"
