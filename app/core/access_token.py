"""Judges a caller's access token: how it is presented (RFC 6750) and what it says (RFC 7519, RFC 9068, RFC 7662).

Everything here is decided from literals; whether a token is genuine is the caller's to find out, by its signature or by
asking its issuer. A token made for another purpose is no access token, whoever signed it: an ID token says who logged
in somewhere else, a logout token ends sessions, and a bound token without its proof may be stolen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from app.core.errors import TokenInvalidError
from app.core.id_token import IdTokenClaimError, check_subject, parse_audience, parse_numeric_date

MAX_TOKEN_CHARACTERS = 16 * 1024

_CREDENTIALS = re.compile(r"(?i:bearer) +([A-Za-z0-9\-._~+/]+=*)")
"""RFC 6750 §2.1; the scheme's case does not matter (RFC 9110 §11.1)."""
_CHALLENGE = 'Bearer realm="bff"'
_ACCESS_TOKEN_TYPE = "at+jwt"  # noqa: S105 - a media type
_UNTYPED = "jwt"
_MARKS_OF_OTHER_TOKENS = ("nonce", "at_hash", "c_hash", "s_hash", "events")
"""Claims of ID tokens and logout tokens that no access token has."""
_OTHER_PAYLOAD_TYPES = frozenset({"id", "refresh", "offline", "logout"})
"""What Keycloak writes into a claim `typ` of tokens that are no access tokens."""


class AccessTokenClaimError(Exception):
    """The claims are not those of an access token for us. The text is for operators and holds no claim value."""


@dataclass(frozen=True, slots=True)
class AccessTokenExpectation:
    """Whose access tokens are taken, and when."""

    issuer: str
    audience: str
    now: float
    leeway_seconds: float


def parse_bearer_token(authorization: str | None) -> str:
    """Returns the token out of `Authorization`; raises `TokenInvalidError` when there is none or it is malformed.

    A call without one is told how to authenticate and nothing else (RFC 6750 §3.1).
    """
    scheme = (authorization or "").split(" ", 1)[0].lower()
    if scheme != "bearer":
        raise TokenInvalidError("The call carries no bearer token.", headers=(("WWW-Authenticate", _CHALLENGE),))
    credentials = _CREDENTIALS.fullmatch(authorization or "")
    if credentials is None or len(credentials[1]) > MAX_TOKEN_CHARACTERS:
        raise build_token_refusal("the token is malformed or too long")
    return credentials[1]


def build_token_refusal(internal_reason: str) -> TokenInvalidError:
    """Returns the refusal of a token that was presented; why is for operators, a caller only learns that it is."""
    return TokenInvalidError(
        internal_reason=internal_reason, headers=(("WWW-Authenticate", f'{_CHALLENGE}, error="invalid_token"'),)
    )


def has_audience(claims: Mapping[str, object], audience: str) -> bool:
    """Tells whether `aud` names `audience`; an `aud` of another shape names nobody (T7)."""
    try:
        return audience in parse_audience(claims.get("aud"))
    except IdTokenClaimError:
        return False


def check_token_type(token_type: object, claims: Mapping[str, object]) -> None:
    """Raises `AccessTokenClaimError` for a JWT of another kind; `token_type` is its header's `typ`, None without one.

    Many providers still sign access tokens without the type of RFC 9068 §2.1. Such a token is taken unless it has what
    only other kinds have.
    """
    kind = _UNTYPED if token_type is None else str(token_type).lower().removeprefix("application/")
    if kind not in (_ACCESS_TOKEN_TYPE, _UNTYPED):
        raise AccessTokenClaimError("the token's typ is not that of an access token")
    if kind == _UNTYPED and any(name in claims for name in _MARKS_OF_OTHER_TOKENS):
        raise AccessTokenClaimError("the token is an ID token or a logout token")


def check_access_token_claims(claims: Mapping[str, object], expected: AccessTokenExpectation) -> float:
    """Returns when a JWT expires (epoch seconds); raises `AccessTokenClaimError` unless all its claims are good."""
    if claims.get("iss") != expected.issuer:
        raise AccessTokenClaimError("iss is not the issuer")
    expires_at = _check_common_claims(claims, expected)
    if expires_at is None:
        raise AccessTokenClaimError("exp is missing")
    return expires_at


def check_introspected_claims(claims: Mapping[str, object], expected: AccessTokenExpectation) -> float | None:
    """As `check_access_token_claims` for an issuer's own answer, where `iss` and `exp` are optional (RFC 7662 §2.2).

    Returns None when the issuer does not tell when the token expires.
    """
    if claims.get("iss", expected.issuer) != expected.issuer:
        raise AccessTokenClaimError("iss is not the issuer")
    token_type = claims.get("token_type", "Bearer")
    if not isinstance(token_type, str) or token_type.lower() != "bearer":
        raise AccessTokenClaimError("token_type is not Bearer")
    return _check_common_claims(claims, expected)


def _check_common_claims(claims: Mapping[str, object], expected: AccessTokenExpectation) -> float | None:
    if not has_audience(claims, expected.audience):
        raise AccessTokenClaimError("aud is not ours")
    if claims.get("cnf") is not None:
        # RFC 9449 §7.2: taken as a bearer token, a token bound to a key would lose its binding.
        raise AccessTokenClaimError("the token is bound to a key, and no proof of it can be checked here")
    if str(claims.get("typ", "")).lower() in _OTHER_PAYLOAD_TYPES:
        raise AccessTokenClaimError("the token says of itself that it is no access token")
    try:
        check_subject(claims.get("sub"))
        return _check_times(claims, expected.now, expected.leeway_seconds)
    except IdTokenClaimError as error:
        raise AccessTokenClaimError(str(error)) from error


def _check_times(claims: Mapping[str, object], now: float, leeway_seconds: float) -> float | None:
    for name in ("iat", "nbf"):
        if claims.get(name) is not None and parse_numeric_date(claims[name], name) - leeway_seconds > now:
            raise AccessTokenClaimError(f"{name} lies in the future")
    if claims.get("exp") is None:
        return None
    expires_at = parse_numeric_date(claims["exp"], "exp")
    if expires_at + leeway_seconds <= now:
        raise AccessTokenClaimError("the token has expired")
    return expires_at
