"""A user's tokens for calls: handed out while they are good, refreshed before they are not (DESIGN §9).

One refresh at a time per session, whatever the audience, across greenlets, workers and machines: a flight of its own
thread takes the session's turn (`TokenRefresh`). Callers for the same target share its outcome; one that goes away does
not stop it. While the provider fails, a token that is still valid is used, and then calls are refused with 503.
"""

from __future__ import annotations

from collections.abc import Callable

from app.core.errors import ServiceTokenUnavailableError, SessionExpiredError
from app.core.routes import Service
from app.services.dpop_key import AccessToken
from app.services.held_tokens import (
    find_held,
    find_next_due_time,
    get_user_token,
    give,
    is_alive,
    is_due,
    is_usable,
)
from app.services.oidc_client import OidcClient
from app.services.refreshed_claims import RefreshedClaims
from app.services.session_store import SessionStore
from app.services.single_flight import Flight, SingleFlight
from app.services.state_store.interface import StateStore
from app.services.token_refresh import TokenRefresh
from app.services.token_store import TokenSet, TokenStore
from app.services.token_targets import USER_TARGET, TokenTarget, build_token_target


class SessionTokens:
    """One instance serves all requests of a worker."""

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
        clock: Callable[[], float],
        schedule: Callable[[str, float], None] | None = None,
        binds_user_tokens: bool = False,
    ) -> None:
        """`count_refresh` is told how each attempt ended: completed, failed, refused or ended; `count_session_ended`
        why a session ended; `schedule` when a session's tokens have to be renewed next (session key, epoch seconds).
        Without it nothing is renewed in the background. `binds_user_tokens`: those of sessions that have no key yet get
        one with their next refresh."""
        self._token_store = token_store
        self._refresh_ahead_seconds = refresh_ahead_seconds
        self._schedule = schedule
        self._clock = clock
        self._flights: SingleFlight[AccessToken] = SingleFlight()
        self._refresh = TokenRefresh(
            oidc_client=oidc_client,
            session_store=session_store,
            token_store=token_store,
            state_store=state_store,
            refresh_ahead_seconds=refresh_ahead_seconds,
            idp_timeout_seconds=idp_timeout_seconds,
            refreshed_claims=refreshed_claims,
            count_refresh=count_refresh,
            count_session_ended=count_session_ended,
            plan_renewal=self.note_renewal,
            binds_user_tokens=binds_user_tokens,
            clock=clock,
        )

    def get(self, service: Service, session_key: str) -> AccessToken:
        """Returns the user's access token for a call to `service`.

        Raises `SessionExpiredError` when the session has none and can get none, `ServiceTokenUnavailableError` when
        none can be had right now.
        """
        return self._get(build_token_target(service), session_key)

    def check_user_token(self, session_key: str) -> None:
        """Raises as `get` unless the user's own access token is good, after a refresh where one is due."""
        self._get(USER_TARGET, session_key)

    def _get(self, target: TokenTarget, session_key: str) -> AccessToken:
        tokens = self._token_store.find(session_key)
        if tokens is None:
            raise SessionExpiredError(internal_reason="the session has no tokens")
        held = find_held(tokens, target)
        now = self._clock()
        if held is not None and (
            not is_due(held, self._refresh_ahead_seconds, now) or (tokens.refresh_token is None and is_alive(held, now))
        ):
            return give(tokens, held)
        if held is not None and is_usable(held, now):
            if not self._refresh.has_failed(session_key, target):
                self._take_off(session_key, target)
            return give(tokens, held)
        try:
            return self._land(self._take_off(session_key, target))
        except ServiceTokenUnavailableError:
            if held is not None and is_alive(held, self._clock()):
                return give(tokens, held)
            raise

    def note_renewal(self, session_key: str, tokens: TokenSet) -> None:
        """Plans the next renewal of tokens that were just put into the store."""
        due_at = find_next_due_time(tokens, self._refresh_ahead_seconds)
        if due_at is not None and self._schedule is not None:
            self._schedule(session_key, due_at)

    def renew_due(self, session_key: str) -> float | None:
        """Renews what is due in a session's record, for the background.

        Returns when it is due again (epoch seconds), or None when there is nothing more to renew. Raises
        `IdpUnavailableError`, `ServiceTokenUnavailableError` or `StoreUnavailableError` when it could not be done now.
        """
        tokens = self._token_store.find(session_key)
        if tokens is None or tokens.refresh_token is None:
            return None
        if is_due(get_user_token(tokens), self._refresh_ahead_seconds, self._clock()):
            try:
                self._land(self._take_off(session_key, USER_TARGET))
            except SessionExpiredError:
                return None
            tokens = self._token_store.find(session_key)
        return find_next_due_time(tokens, self._refresh_ahead_seconds) if tokens is not None else None

    def _take_off(self, session_key: str, target: TokenTarget) -> Flight[AccessToken]:
        return self._flights.join((session_key, target.key), lambda: self._refresh.run(session_key, target))

    def _land(self, flight: Flight[AccessToken]) -> AccessToken:
        if not flight.wait(self._refresh.longest_seconds):
            raise ServiceTokenUnavailableError(internal_reason="the refresh takes too long")
        return flight.get()
