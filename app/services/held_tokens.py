"""The access tokens of a session's token record: the user's own, and those for single services beside it."""

from __future__ import annotations

from msgspec.structs import replace

from app.services.dpop_key import AccessToken, BoundToken, DpopKey, parse_dpop_key
from app.services.oidc_answers import BEARER, DPOP
from app.services.token_store import ServiceAccessToken, TokenSet
from app.services.token_targets import USER_TARGET, TokenTarget

SPENT_SECONDS = 5
"""A token is not sent in its last seconds: it has a way to go, and clocks differ."""


def get_user_token(tokens: TokenSet) -> ServiceAccessToken:
    return ServiceAccessToken(tokens.access_token, tokens.expires_at, tokens.obtained_at, tokens.token_type == DPOP)


def find_held(tokens: TokenSet, target: TokenTarget) -> ServiceAccessToken | None:
    """The access token for `target`, good or not; None when there is none."""
    held = get_user_token(tokens) if target is USER_TARGET else tokens.for_services.get(target.key)
    if held is not None and held.is_bound and tokens.dpop_key is None:
        return None  # an older version's refresh has dropped the key
    return held


def put_held(tokens: TokenSet, target: TokenTarget, held: ServiceAccessToken, dpop_key: DpopKey | None) -> TokenSet:
    if dpop_key is not None:
        tokens = replace(tokens, dpop_key=dpop_key.text)
    if target is not USER_TARGET:
        return replace(tokens, for_services={**tokens.for_services, target.key: held})
    return replace(
        tokens,
        access_token=held.access_token,
        expires_at=held.expires_at,
        obtained_at=held.obtained_at,
        token_type=DPOP if held.is_bound else BEARER,
    )


def give(tokens: TokenSet, held: ServiceAccessToken) -> AccessToken:
    """The token as calls use it: with its key where it is bound to one."""
    if not held.is_bound or tokens.dpop_key is None:
        return held.access_token
    return BoundToken(held.access_token, parse_dpop_key(tokens.dpop_key))


def is_usable(held: ServiceAccessToken, now: float) -> bool:
    return held.expires_at is None or held.expires_at - SPENT_SECONDS > now


def is_alive(held: ServiceAccessToken, now: float) -> bool:
    """Good for a last call while nothing better can be had."""
    return held.expires_at is None or held.expires_at > now


def find_due_time(held: ServiceAccessToken, ahead_seconds: float) -> float | None:
    """When a token is to be renewed (epoch seconds): `ahead_seconds` before it is over.

    One that lives no longer than twice that is due at half its life, not at once. None: it is never over.
    """
    if held.expires_at is None:
        return None
    return held.expires_at - min(ahead_seconds, (held.expires_at - held.obtained_at) / 2)


def is_due(held: ServiceAccessToken, ahead_seconds: float, now: float) -> bool:
    due_at = find_due_time(held, ahead_seconds)
    return due_at is not None and due_at <= now


def find_next_due_time(tokens: TokenSet, ahead_seconds: float) -> float | None:
    """When the user's own token has to be renewed; those for single services are renewed when they are wanted."""
    if tokens.refresh_token is None:
        return None
    return find_due_time(get_user_token(tokens), ahead_seconds)
