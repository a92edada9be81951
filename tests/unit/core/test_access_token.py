"""Access tokens judged from literals: one thing wrong at a time (attack rows T1, T7, H8)."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.access_token import (
    MAX_TOKEN_CHARACTERS,
    AccessTokenClaimError,
    AccessTokenExpectation,
    check_access_token_claims,
    check_introspected_claims,
    check_token_type,
    parse_bearer_token,
)
from app.core.errors import TokenInvalidError

NOW = 1_700_000_000.0
ISSUER = "https://partners.example.com"
AUDIENCE = "https://app.example.com"
EXPECTED = AccessTokenExpectation(ISSUER, AUDIENCE, NOW, leeway_seconds=30)
CLAIMS: dict[str, Any] = {"iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "iat": NOW - 10, "exp": NOW + 300}
MISSING = object()

COMMON_FAULTS = [
    pytest.param("iss", "https://evil.example", id="T1-iss"),
    pytest.param("iss", f"{ISSUER}/", id="iss-slash"),
    pytest.param("iss", [ISSUER], id="iss-list"),
    pytest.param("aud", "https://other.example.com", id="T1-aud"),
    pytest.param("aud", {"https://app.example.com": True}, id="T7-aud-object"),
    pytest.param("aud", MISSING, id="aud-missing"),
    pytest.param("aud", [], id="aud-empty"),
    pytest.param("aud", [AUDIENCE, 7], id="aud-mixed"),
    pytest.param("aud", AUDIENCE + ".evil.example", id="aud-longer"),
    pytest.param("exp", 1e300, id="T7-exp-huge"),
    pytest.param("exp", 10**400, id="T7-exp-endless"),
    pytest.param("exp", "x", id="T7-exp-text"),
    pytest.param("exp", str(int(NOW + 300)), id="exp-number-in-text"),
    pytest.param("exp", True, id="exp-true"),
    pytest.param("exp", float("nan"), id="exp-nan"),
    pytest.param("exp", -1, id="exp-negative"),
    pytest.param("exp", NOW - 31, id="exp-past"),
    pytest.param("iat", NOW + 31, id="iat-future"),
    pytest.param("iat", "x", id="iat-text"),
    pytest.param("nbf", NOW + 31, id="nbf-future"),
    pytest.param("nbf", [], id="nbf-list"),
    pytest.param("sub", MISSING, id="sub-missing"),
    pytest.param("sub", "", id="sub-empty"),
    pytest.param("sub", 7, id="sub-number"),
    pytest.param("sub", "alice ", id="sub-space"),
    pytest.param("sub", "ali\r\nce", id="sub-line-break"),
    pytest.param("sub", "a" * 256, id="sub-long"),
    pytest.param("cnf", {"jkt": "x"}, id="bound-to-a-key"),
    pytest.param("typ", "ID", id="keycloak-id-token"),
    pytest.param("typ", "Refresh", id="keycloak-refresh-token"),
]


def with_fault(name: str, value: object) -> dict[str, Any]:
    claims = {**CLAIMS, name: value}
    return {key: claim for key, claim in claims.items() if claim is not MISSING}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *COMMON_FAULTS,
        pytest.param("exp", MISSING, id="exp-missing"),
        pytest.param("exp", None, id="exp-null"),
        pytest.param("iss", MISSING, id="iss-missing"),
    ],
)
def test_a_jwt_with_one_claim_wrong_is_refused(name: str, value: object) -> None:
    with pytest.raises(AccessTokenClaimError):
        check_access_token_claims(with_fault(name, value), EXPECTED)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *COMMON_FAULTS,
        pytest.param("iss", None, id="iss-null"),
        pytest.param("token_type", "DPoP", id="token-type-dpop"),
        pytest.param("token_type", 7, id="token-type-number"),
    ],
)
def test_an_introspection_answer_with_one_claim_wrong_is_refused(name: str, value: object) -> None:
    with pytest.raises(AccessTokenClaimError):
        check_introspected_claims(with_fault(name, value), EXPECTED)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("aud", ["other", AUDIENCE], id="aud-list"),
        pytest.param("exp", NOW - 29, id="exp-within-leeway"),
        pytest.param("iat", MISSING, id="iat-missing"),
        pytest.param("nbf", NOW + 29, id="nbf-within-leeway"),
        pytest.param("typ", "Bearer", id="keycloak-access-token"),
    ],
)
def test_an_access_token_may_differ_in_this(name: str, value: object) -> None:
    claims = with_fault(name, value)
    assert check_access_token_claims(claims, EXPECTED) == claims["exp"]
    assert check_introspected_claims(claims, EXPECTED) == claims["exp"]


@pytest.mark.parametrize("missing", ["iss", "exp"])
def test_an_introspection_answer_may_leave_out(missing: str) -> None:
    expires_at = None if missing == "exp" else CLAIMS["exp"]
    assert check_introspected_claims({**with_fault(missing, MISSING), "token_type": "bearer"}, EXPECTED) == expires_at


@pytest.mark.parametrize(
    ("token_type", "claims"),
    [
        pytest.param("logout+jwt", CLAIMS, id="logout-token"),
        pytest.param("application/logout+jwt", CLAIMS, id="logout-token-long-form"),
        pytest.param("secevent+jwt", CLAIMS, id="security-event"),
        pytest.param("dpop+jwt", CLAIMS, id="dpop-proof"),
        pytest.param(["at+jwt"], CLAIMS, id="typ-list"),
        pytest.param("", CLAIMS, id="typ-empty"),
        pytest.param("JWT", {**CLAIMS, "nonce": "n"}, id="id-token-with-nonce"),
        pytest.param(None, {**CLAIMS, "at_hash": "h"}, id="id-token-with-at-hash"),
        pytest.param(None, {**CLAIMS, "c_hash": "h"}, id="id-token-with-c-hash"),
        pytest.param(None, {**CLAIMS, "s_hash": "h"}, id="id-token-with-s-hash"),
        pytest.param("JWT", {**CLAIMS, "events": {}}, id="untyped-logout-token"),
    ],
)
def test_a_token_made_for_something_else_is_no_access_token(token_type: object, claims: dict[str, Any]) -> None:
    with pytest.raises(AccessTokenClaimError):
        check_token_type(token_type, claims)


@pytest.mark.parametrize("token_type", ["at+jwt", "application/at+jwt", "AT+JWT", "JWT", None])
def test_these_types_are_those_of_access_tokens(token_type: str | None) -> None:
    check_token_type(token_type, CLAIMS)


@pytest.mark.parametrize(
    ("authorization", "challenge"),
    [
        pytest.param(None, 'Bearer realm="bff"', id="none"),
        pytest.param("", 'Bearer realm="bff"', id="empty"),
        pytest.param("Basic YTpi", 'Bearer realm="bff"', id="basic"),
        pytest.param("DPoP abc", 'Bearer realm="bff"', id="dpop"),
        pytest.param("Bearerabc", 'Bearer realm="bff"', id="no-space"),
        pytest.param("Bearer", 'Bearer realm="bff", error="invalid_token"', id="no-token"),
        pytest.param("Bearer ", 'Bearer realm="bff", error="invalid_token"', id="empty-token"),
        pytest.param("Bearer a b", 'Bearer realm="bff", error="invalid_token"', id="two-words"),
        pytest.param("Bearer a,Bearer b", 'Bearer realm="bff", error="invalid_token"', id="H8-two-joined"),
        pytest.param("Bearer a=b", 'Bearer realm="bff", error="invalid_token"', id="padding-inside"),
        pytest.param("Bearer \xe9", 'Bearer realm="bff", error="invalid_token"', id="not-ascii"),
        pytest.param(
            f"Bearer {'a' * (MAX_TOKEN_CHARACTERS + 1)}", 'Bearer realm="bff", error="invalid_token"', id="T6-too-long"
        ),
    ],
)
def test_a_call_without_a_usable_token_is_told_how_to_authenticate(authorization: str | None, challenge: str) -> None:
    with pytest.raises(TokenInvalidError) as refused:
        parse_bearer_token(authorization)
    assert refused.value.headers == (("WWW-Authenticate", challenge),)


@pytest.mark.parametrize(
    "authorization", ["Bearer a.b-c_d~e+f/g==", "bearer a.b-c_d~e+f/g==", "BEARER  a.b-c_d~e+f/g=="]
)
def test_a_token_is_taken_out_of_its_header(authorization: str) -> None:
    assert parse_bearer_token(authorization) == "a.b-c_d~e+f/g=="
