"""Judges the claims of an ID token whose signature was found good (OIDC Core §3.1.3.7).

Everything here is decided from literals: the claims, what was expected, and the time. The signature is the caller's
(`services/oidc_keys`), and so is turning a refusal into an answer.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256, sha512

MAX_SUBJECT_CHARACTERS = 255
"""OIDC Core §2: `sub` must not exceed 255 ASCII characters."""

MAX_NUMERIC_DATE = 253_402_300_799
"""The last second of the year 9999. A later date is a mistake or an attempt to overflow something (T7)."""

HASH_BY_ALGORITHM = {
    "ES256": sha256,
    "PS256": sha256,
    "RS256": sha256,
    # OIDC Core erratum 2 leaves Ed25519 open; SHA-512, the hash inside Ed25519, is what providers use.
    "Ed25519": sha512,
    "EdDSA": sha512,
}


class IdTokenClaimError(Exception):
    """The claims are not those of the login that was asked for. The text is for operators and holds no claim value."""


class IdTokenTimeError(IdTokenClaimError):
    """The ID token is from another time: it is over, or not yet good. Clocks that differ do that too."""


@dataclass(frozen=True, slots=True)
class IdTokenExpectation:
    """What the login that was started lets an ID token say."""

    issuer: str
    client_id: str
    nonce: str | None
    """None: the answer to a refresh, where the provider leaves it out (OIDC Core §12.2)."""
    now: float
    leeway_seconds: float
    max_age_seconds: int | None = None
    """`max_age` of the authorization request; with it `auth_time` is required (OIDC Core §3.1.2.1)."""

    def __repr__(self) -> str:
        return f"IdTokenExpectation(issuer={self.issuer!r}, client_id={self.client_id!r}, nonce=***)"


def check_id_token_claims(claims: Mapping[str, object], expected: IdTokenExpectation) -> None:
    """Raises `IdTokenClaimError` unless every claim that OIDC Core requires is there, well-formed and as expected."""
    if claims.get("iss") != expected.issuer:
        raise IdTokenClaimError("iss is not the configured issuer")
    _check_audience(claims, expected.client_id)
    check_subject(claims.get("sub"))
    _check_times(claims, expected)
    if expected.nonce is not None:
        _check_nonce(claims.get("nonce"), expected.nonce)


def check_access_token_hash(claims: Mapping[str, object], algorithm: str, access_token: str) -> None:
    """Raises `IdTokenClaimError` when `at_hash` is there and does not belong to `access_token` (OIDC Core §3.1.3.8)."""
    claimed = claims.get("at_hash")
    if claimed is None:
        return
    digest = HASH_BY_ALGORITHM[algorithm](access_token.encode("ascii")).digest()
    computed = urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=")
    if not isinstance(claimed, str) or not hmac.compare_digest(claimed.encode("utf-8", "replace"), computed):
        raise IdTokenClaimError("at_hash does not belong to the access token")


def parse_numeric_date(value: object, claim: str) -> float:
    """Returns a NumericDate (RFC 7519 §2); raises `IdTokenClaimError` for anything that is no usable date."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise IdTokenClaimError(f"{claim} is missing or not a number")
    if not 0 <= value <= MAX_NUMERIC_DATE:  # NaN is not either
        raise IdTokenClaimError(f"{claim} is not a date")
    return float(value)


def _check_audience(claims: Mapping[str, object], client_id: str) -> None:
    audiences = parse_audience(claims.get("aud"))
    if client_id not in audiences:
        raise IdTokenClaimError("aud does not name this client")
    authorized_party = claims.get("azp")
    if authorized_party is None and len(audiences) > 1:
        raise IdTokenClaimError("aud names several parties and azp is missing")
    if authorized_party is not None and authorized_party != client_id:
        raise IdTokenClaimError("azp is not this client")


def parse_audience(value: object) -> list[str]:
    """Returns who `aud` names (RFC 7519 §4.1.3); raises `IdTokenClaimError` unless that is a name or several."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value and all(isinstance(member, str) for member in value):
        return value
    raise IdTokenClaimError("aud is missing or neither a string nor a list of strings")


def check_subject(subject: object) -> None:
    """Raises `IdTokenClaimError` for a `sub` that is no identifier.

    Spaces at the ends are refused because a header field loses them, and "alice " must not become "alice".
    """
    if not isinstance(subject, str) or not subject:
        raise IdTokenClaimError("sub is missing or not a string")
    if len(subject) > MAX_SUBJECT_CHARACTERS:
        raise IdTokenClaimError("sub is longer than 255 characters")
    if not subject.isascii() or not subject.isprintable() or subject != subject.strip():
        raise IdTokenClaimError("sub holds characters that an identifier may not have")


def _check_times(claims: Mapping[str, object], expected: IdTokenExpectation) -> None:
    now, leeway = expected.now, expected.leeway_seconds
    if parse_numeric_date(claims.get("exp"), "exp") + leeway <= now:
        raise IdTokenTimeError("the ID token has expired")
    if parse_numeric_date(claims.get("iat"), "iat") - leeway > now:
        raise IdTokenTimeError("iat lies in the future")
    if claims.get("nbf") is not None and parse_numeric_date(claims["nbf"], "nbf") - leeway > now:
        raise IdTokenTimeError("nbf lies in the future")
    _check_authentication_time(claims, expected)


def _check_authentication_time(claims: Mapping[str, object], expected: IdTokenExpectation) -> None:
    if claims.get("auth_time") is None:
        if expected.max_age_seconds is not None:
            raise IdTokenClaimError("auth_time is missing although max_age was asked for")
        return
    authenticated_at = parse_numeric_date(claims["auth_time"], "auth_time")
    if expected.max_age_seconds is None:
        return
    if authenticated_at + expected.max_age_seconds + expected.leeway_seconds < expected.now:
        raise IdTokenClaimError("the user's authentication is older than max_age")
    if authenticated_at - expected.leeway_seconds > expected.now:
        raise IdTokenTimeError("auth_time lies in the future")


def _check_nonce(claimed: object, expected: str) -> None:
    if not isinstance(claimed, str):
        raise IdTokenClaimError("nonce is missing or not a string")
    if not hmac.compare_digest(claimed.encode("utf-8", "replace"), expected.encode("ascii")):
        raise IdTokenClaimError("nonce is not the one of this login")
