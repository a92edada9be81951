"""What a refresh says about the user reaches the session: a role that the provider took away is gone (L27).

With `oidc.userinfo` the claims are made anew as at a login, from the latest ID token and from UserInfo, which is asked
again. Without it they are what the new ID token says, and what it leaves out stays, because providers leave claims out
at a refresh (OIDC Core §12.2). Who the user is and how the user logged in (`acr`, `auth_time`) never changes here.

By then the new tokens are in the store, and nothing that happens here takes them away again: what fails is logged, and
the session keeps the claims it had until the next refresh.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from app.core.errors import IdpUnavailableError, LoginFailedError, StoreUnavailableError
from app.observability import audit, logs
from app.services.dpop_key import AccessToken
from app.services.oidc_claims import ClaimSelection, merge_userinfo, select_claims, update_claims
from app.services.oidc_client import OidcClient
from app.services.oidc_keys import find_unverified_claims
from app.services.session_store import SessionRecord, SessionStore
from app.services.state_store.versioned import UnstorableRecordError

USERINFO_SECONDS = 3.0
"""For each attempt; calls may be waiting for the new token meanwhile."""

_AUTHORITY = frozenset({"roles", "permissions"})

Claims = Mapping[str, object]

log = logs.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RefreshNews:
    """What came with a refresh that may say something about the user."""

    access_token: AccessToken = field(repr=False)
    id_token: str | None = field(repr=False)
    """The latest there is; it was verified when it came, and lay sealed in the store."""
    new_claims: Claims | None = field(repr=False)
    """Of the ID token that this refresh brought, verified; None when it brought none."""
    is_for_user: bool
    """The access token is the user's own, which UserInfo takes; not one for a service."""


class RefreshedClaims:
    """One instance serves all refreshes of a worker."""

    def __init__(
        self,
        *,
        oidc_client: OidcClient,
        session_store: SessionStore,
        selection: ClaimSelection,
        asks_userinfo: bool,
    ) -> None:
        self._oidc_client = oidc_client
        self._session_store = session_store
        self._selection = selection
        self._asks_userinfo = asks_userinfo

    def follow(self, session_key: str, session: SessionRecord, news: RefreshNews) -> None:
        """Brings the session's claims up to date. Never fails."""
        try:
            build = self._choose(session, news)
            changed = build and self._session_store.change_claims(session_key, build)
        except (IdpUnavailableError, LoginFailedError, StoreUnavailableError) as error:
            log.warning("claims.not_refreshed", session=session.reference, reason=error.internal_reason)
            return
        except UnstorableRecordError as error:
            log.warning("claims.not_refreshed", session=session.reference, reason=f"unstorable: {error}")
            return
        if changed:
            _tell(*changed)

    def _choose(self, session: SessionRecord, news: RefreshNews) -> Callable[[Claims], Claims] | None:
        """Returns what makes new claims of those that a session holds, or None when there is no news."""
        if self._asks_userinfo:
            return self._fetch_all(session, news) if news.is_for_user else None
        said = news.new_claims
        return None if said is None else lambda held: update_claims(held, said, self._selection)

    def _fetch_all(self, session: SessionRecord, news: RefreshNews) -> Callable[[Claims], Claims]:
        said = news.new_claims
        if said is None:
            said = find_unverified_claims(news.id_token or "") or {}
        userinfo = self._oidc_client.fetch_userinfo(news.access_token, session.subject, total_seconds=USERINFO_SECONDS)
        claims = select_claims(merge_userinfo(said, userinfo), self._selection)
        return lambda _held: claims


def _tell(before: SessionRecord, after: SessionRecord) -> None:
    """The trail hears of what decides what the user may do, by name."""
    names = before.claims.keys() | after.claims.keys()
    changed = {name for name in names if before.claims.get(name) != after.claims.get(name)}
    if changed & _AUTHORITY:
        audit.record("claims.changed", user_id=after.user_id, session=after.reference, claims=sorted(changed))
