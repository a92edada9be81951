"""One refresh of a session's tokens, in the session's turn (DESIGN §9).

It takes the session's lock, reads again what others did meanwhile, asks the provider, stores, and lets go. Only a
parsed `invalid_grant` that answers a refresh, for the refresh token that is still stored, ends a session. What the
provider gave is not forgotten when the store fails (`UnstoredTokens`): the refresh token before may be worthless.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import ExitStack

from msgspec.structs import replace

from app.core.errors import (
    IdpUnavailableError,
    ServiceTokenUnavailableError,
    SessionExpiredError,
    StoreUnavailableError,
)
from app.core.id_token import IdTokenClaimError, IdTokenTimeError
from app.observability import audit, logs
from app.services.dpop_key import AccessToken, DpopKey, generate_dpop_key, parse_dpop_key
from app.services.held_tokens import find_held, get_user_token, give, is_due, is_usable, put_held
from app.services.oidc_answers import DPOP, UNKNOWN_LIFETIME_SECONDS, OAuthRefusalError, TokenAnswer
from app.services.oidc_client import OidcClient
from app.services.oidc_keys import SignatureRefusedError
from app.services.refresh_failures import RefreshFailures
from app.services.refreshed_claims import USERINFO_SECONDS, RefreshedClaims, RefreshNews
from app.services.session_store import SessionRecord, SessionStore
from app.services.state_store.interface import StateStore
from app.services.token_store import ServiceAccessToken, StoredTokens, TokenSet, TokenStore
from app.services.token_targets import USER_TARGET, TokenTarget
from app.services.unstored_tokens import UnstoredTokens

BACK_OFF_SECONDS = 2
"""After a failure, so that calls that wait do not ask one after the other."""
REVOCATION_SECONDS = 3

log = logs.get_logger(__name__)


class TokenRefresh:
    """One instance serves all refreshes of a worker."""

    def __init__(
        self,
        *,
        oidc_client: OidcClient,
        session_store: SessionStore,
        token_store: TokenStore,
        state_store: StateStore,
        refresh_ahead_seconds: float,
        idp_timeout_seconds: float,
        refreshed_claims: RefreshedClaims,
        count_refresh: Callable[[str], None],
        count_session_ended: Callable[[str], None],
        plan_renewal: Callable[[str, TokenSet], None],
        binds_user_tokens: bool,
        clock: Callable[[], float],
    ) -> None:
        """As `SessionTokens`, which makes it; `plan_renewal` is told the tokens that were stored for a session key."""
        self._oidc_client = oidc_client
        self._session_store = session_store
        self._token_store = token_store
        self._state_store = state_store
        self._refresh_ahead_seconds = refresh_ahead_seconds
        # The lock's holder may have to fetch metadata, keys and two tokens, each within the provider's timeout, and to
        # ask UserInfo, twice where it wants a nonce.
        self._lease_seconds = idp_timeout_seconds * 4 + USERINFO_SECONDS * 2 + 5
        self._refreshed_claims = refreshed_claims
        self._count_refresh = count_refresh
        self._count_session_ended = count_session_ended
        self._plan_renewal = plan_renewal
        self._binds_user_tokens = binds_user_tokens
        self._clock = clock
        self._failures = RefreshFailures(state_store, clock)
        self._unstored = UnstoredTokens(clock)

    @property
    def longest_seconds(self) -> float:
        """How long a refresh may take, with the wait for its turn."""
        return self._lease_seconds * 2

    def has_failed(self, session_key: str, target: TokenTarget) -> bool:
        """Whether this worker failed to get this token a moment ago; costs nothing."""
        return self._failures.has(session_key, target)

    def run(self, session_key: str, target: TokenTarget) -> AccessToken:
        """Returns the token for `target`, made by this refresh or by somebody else's a moment ago.

        Raises `SessionExpiredError`, `ServiceTokenUnavailableError` or `StoreUnavailableError`.
        """
        if self._unstored.has(session_key):
            raise StoreUnavailableError(internal_reason="the answer to the refresh before could not be stored yet")
        lock = self._state_store.lock(f"refresh-{session_key}", self._lease_seconds, self._lease_seconds)
        with ExitStack() as turn:
            if not turn.enter_context(lock):
                raise ServiceTokenUnavailableError(internal_reason="another refresh of this session does not end")
            try:
                return self._refresh_in_turn(session_key, target)
            except IdpUnavailableError as error:
                self._count_refresh("failed")
                self._failures.note(session_key, target, BACK_OFF_SECONDS)
                raise ServiceTokenUnavailableError(internal_reason=error.internal_reason) from error
            except _NotStoredError as error:
                self._unstored.keep(session_key, error.store, turn.pop_all(), until=error.until)
                raise StoreUnavailableError(internal_reason=error.internal_reason) from error

    def _refresh_in_turn(self, session_key: str, target: TokenTarget) -> AccessToken:
        """Reads again first: whoever had the lock before may have done the work."""
        stored = self._require_stored(session_key)
        now = self._clock()
        held = find_held(stored.tokens, target)
        if held is not None and not is_due(held, self._refresh_ahead_seconds, now):
            return give(stored.tokens, held)
        if self._failures.has(session_key, target) or self._failures.is_refused(session_key, target):
            raise ServiceTokenUnavailableError(internal_reason="the provider refused or failed a moment ago")
        if target.mode == "exchange":
            return self._exchange(session_key, target)
        return self._spend_refresh_token(session_key, target, stored)

    def _spend_refresh_token(self, session_key: str, target: TokenTarget, stored: StoredTokens) -> AccessToken:
        refresh_token = stored.tokens.refresh_token
        if refresh_token is None and target is USER_TARGET:
            raise SessionExpiredError(internal_reason="the access token is over and there is no refresh token")
        if refresh_token is None:
            raise ServiceTokenUnavailableError(internal_reason="there is no refresh token; is offline_access granted?")
        session = self._session_store.find_by_key(session_key)
        if session is None:
            raise SessionExpiredError(internal_reason="the session has ended")
        self._token_store.check_room(session_key)  # an answer that cannot be kept is not asked for
        dpop_key = self._choose_dpop_key(stored.tokens, target)
        try:
            answer = self._oidc_client.refresh(
                refresh_token, audience=target.audience, scope=target.scope, dpop_key=dpop_key
            )
        except OAuthRefusalError as refusal:
            return self._judge_refusal(session_key, target, stored, refusal)
        answer, new_claims = self._judge_id_token(answer, session)
        return self._keep(session_key, session, target, stored, answer, dpop_key, new_claims)

    def _judge_refusal(
        self, session_key: str, target: TokenTarget, stored: StoredTokens, refusal: OAuthRefusalError
    ) -> AccessToken:
        if refusal.error != "invalid_grant":
            self._count_refresh("refused")
            log.error("refresh.refused", error_code=refusal.error)  # invalid_client: an operator has to act
            if target is USER_TARGET:
                self._failures.note(session_key, target, BACK_OFF_SECONDS)
            else:
                self._failures.note_refused(session_key, target)
            raise ServiceTokenUnavailableError(internal_reason=f"refresh: {refusal}")
        current = self._require_stored(session_key)
        if current.tokens.refresh_token != stored.tokens.refresh_token:
            held = find_held(current.tokens, target)
            if held is not None and is_usable(held, self._clock()):
                return give(current.tokens, held)
            raise ServiceTokenUnavailableError(internal_reason="another refresh took this one's token")
        self._count_refresh("ended")
        ended = self._session_store.end_by_key(session_key)
        if ended is not None:
            self._count_session_ended("refresh_refused")
            audit.record("session.ended", user_id=ended.user_id, session=ended.reference, reason="refresh_refused")
        raise SessionExpiredError(internal_reason="the provider has ended the grant")

    def _judge_id_token(
        self, answer: TokenAnswer, session: SessionRecord
    ) -> tuple[TokenAnswer, dict[str, object] | None]:
        """Returns what of the answer may be kept, and the claims of its ID token.

        An answer that speaks of another user is not for this session (T16); nothing of it is kept. One of which only
        the times are wrong comes from a clock that is off: without its ID token it is as good as any, and to throw away
        the refresh token that came with it would log the user out.
        """
        if answer.id_token is None:
            return answer, None
        try:
            claims = self._oidc_client.verify_refreshed_id_token(
                answer.id_token, subject=session.subject, access_token=answer.access_token
            )
        except IdTokenTimeError as error:
            log.error("refresh.id_token_untimely", reason=str(error))  # clocks differ: an operator has to look
            return dataclasses.replace(answer, id_token=None), None
        except (IdTokenClaimError, SignatureRefusedError) as error:
            self._count_refresh("refused")
            log.error("refresh.id_token_refused", reason=str(error))
            raise ServiceTokenUnavailableError(internal_reason=f"refresh: ID token: {error}") from error
        return answer, claims

    def _keep(
        self,
        session_key: str,
        session: SessionRecord,
        target: TokenTarget,
        stored: StoredTokens,
        answer: TokenAnswer,
        dpop_key: DpopKey | None,
        new_claims: dict[str, object] | None,
    ) -> AccessToken:
        """What the answer leaves out stays as it was (RFC 6749 §6)."""
        held = self._build_held(answer)
        renewed = replace(
            put_held(stored.tokens, target, held, dpop_key),
            refresh_token=answer.refresh_token or stored.tokens.refresh_token,
            id_token=answer.id_token or stored.tokens.id_token,
        )
        given = give(renewed, held)
        news = RefreshNews(given, renewed.id_token, new_claims, is_for_user=target is USER_TARGET)

        def store() -> None:
            self._store_once(session_key, session, stored, renewed)
            self._refreshed_claims.follow(session_key, session, news)

        self._store(session, store)
        self._count_refresh("completed")
        return given

    def _exchange(self, session_key: str, target: TokenTarget) -> AccessToken:
        """Trades the user's own token, which is refreshed first if it has to be; all in the same turn."""
        stored = self._require_stored(session_key)
        if not is_usable(get_user_token(stored.tokens), self._clock()):
            self._spend_refresh_token(session_key, USER_TARGET, stored)
            stored = self._require_stored(session_key)
        session = self._session_store.find_by_key(session_key)
        if session is None:
            raise SessionExpiredError(internal_reason="the session has ended")
        dpop_key = self._choose_dpop_key(stored.tokens, target)
        try:
            answer = self._oidc_client.exchange_token(
                stored.tokens.access_token, audience=target.audience, scope=target.scope, dpop_key=dpop_key
            )
        except OAuthRefusalError as refusal:
            self._count_refresh("refused")
            self._failures.note_refused(session_key, target)
            raise ServiceTokenUnavailableError(internal_reason=f"token exchange: {refusal}") from refusal
        held = self._build_held(answer)
        renewed = put_held(stored.tokens, target, held, dpop_key)
        self._store(session, lambda: self._store_once(session_key, session, stored, renewed))
        self._count_refresh("completed")
        return give(renewed, held)

    def _choose_dpop_key(self, tokens: TokenSet, target: TokenTarget) -> DpopKey | None:
        """One key for a session's whole life: its refresh token may be bound to it. A user's token that is bound stays
        so, also when the setting was switched off since."""
        binds_user_token = self._binds_user_tokens or tokens.token_type == DPOP
        if not (binds_user_token if target is USER_TARGET else target.is_bound):
            return None
        return generate_dpop_key() if tokens.dpop_key is None else parse_dpop_key(tokens.dpop_key)

    def _store(self, session: SessionRecord, store: Callable[[], None]) -> None:
        try:
            store()
        except StoreUnavailableError as error:
            raise _NotStoredError(
                error.internal_reason,
                store=store,
                until=self._session_store.absolute_expires_at(session),
            ) from error

    def _store_once(self, session_key: str, session: SessionRecord, stored: StoredTokens, renewed: TokenSet) -> None:
        """May be repeated: a write whose reply was lost is found to have been made."""
        lifetime = self._session_store.absolute_expires_in(session, self._clock())
        if self._token_store.replace(session_key, stored, renewed, lifetime):
            self._plan_renewal(session_key, renewed)
            return
        current = self._token_store.find_stored(session_key)
        if current is None:
            # Without a tombstone nobody ended it: the store has lost it, and may find it again after a failover.
            if renewed.refresh_token is not None and self._session_store.has_ended_for_good(session_key):
                self._oidc_client.revoke(renewed.refresh_token, "refresh_token", total_seconds=REVOCATION_SECONDS)
            raise SessionExpiredError(internal_reason="the session ended while its tokens were refreshed")
        if current.tokens != renewed:
            raise ServiceTokenUnavailableError(internal_reason="the tokens were changed while they were refreshed")

    def _require_stored(self, session_key: str) -> StoredTokens:
        stored = self._token_store.find_stored(session_key)
        if stored is None:
            raise SessionExpiredError(internal_reason="the session has no tokens")
        return stored

    def _build_held(self, answer: TokenAnswer) -> ServiceAccessToken:
        now = self._clock()
        lifetime = UNKNOWN_LIFETIME_SECONDS if answer.expires_in_seconds is None else answer.expires_in_seconds
        return ServiceAccessToken(answer.access_token, now + lifetime, now, answer.token_type == DPOP)


class _NotStoredError(Exception):
    """The provider has answered, and the store did not take it. `store` tries again; it is of use `until` then."""

    def __init__(self, internal_reason: str, *, store: Callable[[], None], until: float) -> None:
        super().__init__(internal_reason)
        self.internal_reason = internal_reason
        self.store = store
        self.until = until
