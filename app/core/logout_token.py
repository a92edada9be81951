"""Judges the claims of a logout token (OIDC Back-Channel Logout 1.0 §2.6). Pure: the signature was checked before.

What makes a logout token different from an ID token or an access token of the same provider is its `typ` and its
`events`; both are insisted on, so that none of the three passes for another (RFC 8725 §3.11, ASVS 10.5.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.core.id_token import IdTokenClaimError, parse_audience, parse_numeric_date

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
LOGOUT_TOKEN_TYPE = "logout+jwt"  # noqa: S105 - a media type
MAX_AGE_SECONDS = 300
"""How long after it was made a logout token is still heard: room for a provider that tries again, and no more."""

MAX_IDENTIFIER_CHARACTERS = 255
"""As with `sub` and `sid` of an ID token."""


class LogoutTokenError(Exception):
    """This is no logout token that we act upon. The text is for operators and holds no claim value."""


@dataclass(frozen=True, slots=True)
class LogoutTokenExpectation:
    """What a logout token for us says."""

    issuer: str
    client_id: str
    now: float
    leeway_seconds: float
    allows_untyped: bool = False
    """Also believe one without `typ`; one with another `typ` never."""


@dataclass(frozen=True, slots=True)
class LogoutToken:
    """Whose sessions are to end: that of `idp_session_id`, or all of `subject`. At least one of them is told."""

    issuer: str
    subject: str | None
    idp_session_id: str | None
    token_id: str = field(repr=False)


def parse_logout_token(
    claims: Mapping[str, object], token_type: object, expected: LogoutTokenExpectation
) -> LogoutToken:
    """Raises `LogoutTokenError` unless everything that §2.6 asks for is there, well-formed and as expected."""
    check_logout_token_type(token_type, allows_untyped=expected.allows_untyped)
    if claims.get("iss") != expected.issuer:
        raise LogoutTokenError("iss is not the configured issuer")
    try:
        if expected.client_id not in parse_audience(claims.get("aud")):
            raise LogoutTokenError("aud does not name this client")
        _check_times(claims, expected)
    except IdTokenClaimError as error:
        raise LogoutTokenError(str(error)) from error
    _check_events(claims.get("events"))
    if "nonce" in claims:
        raise LogoutTokenError("there is a nonce, so it may be an ID token")
    subject, idp_session_id = _parse_identifier(claims, "sub"), _parse_identifier(claims, "sid")
    if subject is None and idp_session_id is None:
        raise LogoutTokenError("neither sub nor sid is told")
    token_id = _parse_identifier(claims, "jti")
    if token_id is None:
        raise LogoutTokenError("jti is missing")
    return LogoutToken(expected.issuer, subject, idp_session_id, token_id)


def check_logout_token_type(token_type: object, *, allows_untyped: bool) -> None:
    """Raises `LogoutTokenError` unless the header's `typ` says what this is, "application/" said or left out
    (RFC 7515 §4.1.9)."""
    if token_type is None and allows_untyped:
        return
    if not isinstance(token_type, str) or token_type.lower().removeprefix("application/") != LOGOUT_TOKEN_TYPE:
        raise LogoutTokenError("typ is missing" if token_type is None else "typ is not logout+jwt")


def _check_times(claims: Mapping[str, object], expected: LogoutTokenExpectation) -> None:
    now, leeway = expected.now, expected.leeway_seconds
    issued_at = parse_numeric_date(claims.get("iat"), "iat")
    if issued_at - leeway > now:
        raise LogoutTokenError("iat lies in the future")
    if issued_at + MAX_AGE_SECONDS + leeway < now:
        raise LogoutTokenError("iat is too long ago")
    if parse_numeric_date(claims.get("exp"), "exp") + leeway <= now:
        raise LogoutTokenError("the logout token has expired")


def _check_events(events: object) -> None:
    """The member's value is a JSON object, by recommendation empty."""
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
        raise LogoutTokenError("events does not hold the logout event")


def _parse_identifier(claims: Mapping[str, object], name: str) -> str | None:
    value = claims.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= MAX_IDENTIFIER_CHARACTERS:
        raise LogoutTokenError(f"{name} is malformed")
    return value
