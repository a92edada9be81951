"""Step 6 of a call: the token that the target service wants, by its `token.mode`.

A token belongs to one service, audience and scope, and never goes to another (T22). The BFF's own tokens are shared by
all workers through the sealed store, are renewed by one of them ahead of their expiry, and while the provider fails the
old one serves as long as it is valid.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256

from msgspec.structs import replace

from app.core.errors import (
    BffError,
    IdpUnavailableError,
    ServiceTokenUnavailableError,
    SessionExpiredError,
    StoreUnavailableError,
)
from app.core.routes import Service
from app.services.dpop_key import AccessToken, BoundToken, DpopKey, parse_dpop_key
from app.services.held_tokens import find_due_time, get_user_token
from app.services.oidc_client import OidcClient
from app.services.session_tokens import SessionTokens
from app.services.state_store.interface import StateStore
from app.services.token_store import TokenSet, TokenStore

UNKNOWN_LIFETIME_SECONDS = 300
"""For a token whose answer names no `expires_in` (RFC 6749 §5.1)."""
SPENT_SECONDS = 5
"""A token is not sent in its last seconds: it has a way to go, and clocks differ."""
BACK_OFF_SECONDS = 2
"""After a failure, so that calls that wait do not ask one after the other."""


@dataclass(frozen=True)
class _Held:
    """A service token as this worker holds it."""

    token: AccessToken
    expires_at: float
    renew_at: float

    def __repr__(self) -> str:
        return f"_Held(expires_at={self.expires_at})"


class TokenProvider:
    """Gives tokens. One instance serves all requests of a worker."""

    def __init__(
        self,
        *,
        oidc_client: OidcClient,
        token_store: TokenStore,
        state_store: StateStore,
        session_tokens: SessionTokens,
        refresh_ahead_seconds: float,
        idp_timeout_seconds: float,
        clock: Callable[[], float],
        get_own_dpop_key: Callable[[], DpopKey],
    ) -> None:
        """`get_own_dpop_key` is asked when a token of the BFF's own is to be bound (RFC 9449)."""
        self._oidc_client = oidc_client
        self._token_store = token_store
        self._state_store = state_store
        self._session_tokens = session_tokens
        self._refresh_ahead_seconds = refresh_ahead_seconds
        self._lock_wait_seconds = idp_timeout_seconds * 2  # the holder may have to fetch the metadata first
        self._clock = clock
        self._get_own_dpop_key = get_own_dpop_key
        self._cache_keys: dict[str, tuple[Service, str]] = {}
        """By the service's name, which belongs to one service at a time."""
        self._held: dict[str, _Held] = {}
        self._services: dict[str, Service] = {}
        self._failed_at: dict[str, float] = {}

    def get(self, service: Service, session_key: str | None) -> AccessToken | None:
        """Returns the access token for a call to `service`, or None when it wants none.

        Raises `SessionExpiredError` when the user's grant is over, `ServiceTokenUnavailableError` when no token can be
        had right now.
        """
        mode = service.token.mode
        if mode == "none":
            return None
        if mode == "client_credentials":
            return self._get_service_token(service)
        if session_key is None:
            raise SessionExpiredError(internal_reason="the call has no session that could have a token")
        return self._session_tokens.get(service, session_key)

    def renew_user_token_if_due(self, session_key: str) -> None:
        """Renews the user's own token when it is due; that the provider fails is left to the calls that need one.

        The session may have ended when this returns: the provider can refuse the grant.
        """
        with suppress(ServiceTokenUnavailableError):
            self._session_tokens.renew_due(session_key)

    def renew_service_tokens(self) -> None:
        """Renews what this worker holds and what falls due, for the background; a failure is left to the next call."""
        for cache_key, service in list(self._services.items()):
            if self._held[cache_key].renew_at <= self._clock():
                with suppress(ServiceTokenUnavailableError, StoreUnavailableError):
                    self._renew(service, cache_key)

    def _get_service_token(self, service: Service) -> AccessToken:
        known = self._cache_keys.get(service.name)
        if known is None or known[0] is not service:
            known = self._cache_keys[service.name] = (service, _build_cache_key(service))
        cache_key = known[1]
        held = self._held.get(cache_key)
        if held is None or held.renew_at <= self._clock():
            held = self._renew(service, cache_key)
            self._services[cache_key] = service
        return held.token

    def _renew(self, service: Service, cache_key: str) -> _Held:
        """With a token at hand that is still good, one caller renews it and the others do not wait."""
        usable = self._find_usable(cache_key)
        wait_seconds = 0 if usable else self._lock_wait_seconds
        lock_name = f"service-token-{sha256(cache_key.encode()).hexdigest()}"
        try:
            with self._state_store.lock(lock_name, wait_seconds) as is_ours:
                if is_ours:
                    return self._renew_under_lock(service, cache_key)
            raise ServiceTokenUnavailableError(internal_reason="another caller is still asking for the token")
        except (IdpUnavailableError, ServiceTokenUnavailableError, StoreUnavailableError) as error:
            usable = self._find_usable(cache_key)
            if usable is not None:
                return usable
            if isinstance(error, IdpUnavailableError):
                raise ServiceTokenUnavailableError(internal_reason=error.internal_reason) from error
            raise

    def _renew_under_lock(self, service: Service, cache_key: str) -> _Held:
        """Looks again at what others did meanwhile, and only then asks the provider."""
        held = self._held.get(cache_key)
        if held is not None and held.renew_at > self._clock():
            return held
        stored = self._token_store.find_service_token(cache_key)
        if stored is not None and stored.expires_at is not None:
            held = self._hold(cache_key, stored, stored.expires_at)
            if held.renew_at > self._clock():
                return held
        return self._fetch(service, cache_key)

    def _fetch(self, service: Service, cache_key: str) -> _Held:
        if self._clock() - self._failed_at.get(cache_key, float("-inf")) < BACK_OFF_SECONDS:
            raise ServiceTokenUnavailableError(internal_reason="the provider refused or failed a moment ago")
        dpop_key = self._get_own_dpop_key() if service.token.is_bound else None
        try:
            answer = self._oidc_client.fetch_client_credentials_token(
                service.token.audience, service.token.scope, dpop_key=dpop_key
            )
        except BffError:
            self._failed_at[cache_key] = self._clock()
            raise
        tokens = answer.to_token_set(self._clock(), dpop_key.text if dpop_key else None)
        expires_at = self._clock() + UNKNOWN_LIFETIME_SECONDS if tokens.expires_at is None else tokens.expires_at
        tokens = replace(tokens, expires_at=expires_at)
        held = self._hold(cache_key, tokens, expires_at)
        self._failed_at.pop(cache_key, None)
        self._token_store.save_service_token(cache_key, tokens)
        return held

    def _hold(self, cache_key: str, tokens: TokenSet, expires_at: float) -> _Held:
        renew_at = find_due_time(get_user_token(tokens), self._refresh_ahead_seconds)
        held = _Held(_read_token(tokens), expires_at, expires_at if renew_at is None else renew_at)
        self._held[cache_key] = held
        return held

    def _find_usable(self, cache_key: str) -> _Held | None:
        held = self._held.get(cache_key)
        return held if held is not None and held.expires_at - SPENT_SECONDS > self._clock() else None


def _build_cache_key(service: Service) -> str:
    """Packed as JSON, so that no two services, audiences and scopes read the same."""
    token = service.token
    return json.dumps([service.name, token.audience, token.scope, *(["dpop"] if token.is_bound else [])])


def _read_token(tokens: TokenSet) -> AccessToken:
    if tokens.dpop_key is None:
        return tokens.access_token
    return BoundToken(tokens.access_token, parse_dpop_key(tokens.dpop_key))
