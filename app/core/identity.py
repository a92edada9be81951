"""Who is calling: the result of step 3, whatever the credentials were."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Identity(msgspec.Struct, frozen=True, gc=False):
    """A user whose session (or bearer token) was found good.

    `user_id` is the ID token's `sub` (or the claim named by `oidc.user_id_claim`); `subject` is always `sub`.
    `session_reference` names the session to backends and logs and cannot be used as a cookie; it is empty for a caller
    who has none.
    """

    user_id: str
    subject: str
    provider: str
    session_reference: str
    claims: Mapping[str, object]
    claims_version: int = 0
    """Counts the changes of `claims` during the session."""

    @property
    def decision_scope(self) -> tuple[str, ...]:
        """What decisions about this user are remembered within: this session, with its claims as they are now."""
        return (self.provider, self.user_id, self.session_reference, str(self.claims_version))

    @property
    def original_user(self) -> str:
        """The value of `X-Original-User`: which account, at which provider."""
        return f"auth:account:{self.provider}:{self.subject}"
