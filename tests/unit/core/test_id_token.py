"""The claims of an ID token, one thing wrong at a time (OIDC Core §3.1.3.7; attack rows L7 and T7)."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from dataclasses import replace
from typing import Any

import pytest

from app.core.id_token import (
    IdTokenClaimError,
    IdTokenExpectation,
    check_access_token_hash,
    check_id_token_claims,
    parse_numeric_date,
)

NOW = 1_700_000_000.0
EXPECTED = IdTokenExpectation(
    issuer="https://idp.example.com", client_id="bff", nonce="the-nonce", now=NOW, leeway_seconds=30
)
GOOD: dict[str, Any] = {
    "iss": "https://idp.example.com",
    "aud": "bff",
    "sub": "alice",
    "exp": NOW + 300,
    "iat": NOW - 1,
    "nonce": "the-nonce",
}
MISSING = object()


def with_change(changes: dict[str, Any]) -> dict[str, Any]:
    changed = {**GOOD, **changes}
    return {name: value for name, value in changed.items() if value is not MISSING}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="as-is"),
        pytest.param({"aud": ["bff"]}, id="aud-list"),
        pytest.param({"aud": ["bff", "other"], "azp": "bff"}, id="aud-several-with-azp"),
        pytest.param({"azp": "bff"}, id="azp-ours"),
        pytest.param({"exp": NOW - 29}, id="exp-within-leeway"),
        pytest.param({"exp": int(NOW) + 300}, id="exp-int"),
        pytest.param({"iat": NOW + 30}, id="iat-at-leeway"),
        pytest.param({"nbf": NOW + 30}, id="nbf-at-leeway"),
        pytest.param({"sub": "a" * 255}, id="sub-255"),
        pytest.param({"sub": "auth0|5f7c 8ec7"}, id="sub-inner-space"),
        pytest.param({"auth_time": NOW - 10_000}, id="auth-time-old-but-not-asked-for"),
        pytest.param({"unknown": {"deep": [1]}}, id="unknown-claim"),
    ],
)
def test_good_claims_pass(changes: dict[str, Any]) -> None:
    check_id_token_claims(with_change(changes), EXPECTED)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"iss": MISSING}, "iss", id="iss-missing"),
        pytest.param({"iss": "https://evil.example"}, "iss", id="iss-other"),
        pytest.param({"iss": "https://idp.example.com/"}, "iss", id="iss-slash"),
        pytest.param({"iss": "HTTPS://idp.example.com"}, "iss", id="iss-capitals"),
        pytest.param({"iss": ["https://idp.example.com"]}, "iss", id="iss-list"),
        pytest.param({"aud": MISSING}, "aud", id="aud-missing"),
        pytest.param({"aud": "other"}, "aud", id="aud-other"),
        pytest.param({"aud": []}, "aud", id="aud-empty"),
        pytest.param({"aud": {"bff": True}}, "aud", id="T7-aud-object"),
        pytest.param({"aud": ["bff", 1]}, "aud", id="aud-mixed"),
        pytest.param({"aud": "bff other"}, "aud", id="aud-two-in-a-string"),
        pytest.param({"aud": ["bff", "other"]}, "azp", id="aud-several-without-azp"),
        pytest.param({"azp": "other"}, "azp", id="azp-other"),
        pytest.param({"aud": ["bff", "other"], "azp": "other"}, "azp", id="azp-other-of-several"),
        pytest.param({"azp": ["bff"]}, "azp", id="azp-list"),
        pytest.param({"azp": ""}, "azp", id="azp-empty"),
        pytest.param({"sub": MISSING}, "sub", id="sub-missing"),
        pytest.param({"sub": ""}, "sub", id="sub-empty"),
        pytest.param({"sub": 7}, "sub", id="sub-number"),
        pytest.param({"sub": "a" * 256}, "sub", id="sub-256"),
        pytest.param({"sub": "alice\r\nX-User-ID: root"}, "sub", id="sub-line-break"),
        pytest.param({"sub": "alice "}, "sub", id="sub-trailing-space"),
        pytest.param({"sub": "alíce"}, "sub", id="sub-not-ascii"),
        pytest.param({"exp": MISSING}, "exp", id="exp-missing"),
        pytest.param({"exp": NOW - 30}, "expired", id="exp-past"),
        pytest.param({"exp": 1e300}, "exp", id="T7-exp-1e300"),
        pytest.param({"exp": 10**400}, "exp", id="T7-exp-huge-int"),
        pytest.param({"exp": "x"}, "exp", id="T7-exp-text"),
        pytest.param({"exp": str(NOW + 300)}, "exp", id="exp-number-in-text"),
        pytest.param({"exp": float("nan")}, "exp", id="T7-exp-nan"),
        pytest.param({"exp": float("inf")}, "exp", id="T7-exp-inf"),
        pytest.param({"exp": True}, "exp", id="T7-exp-bool"),
        pytest.param({"exp": None}, "exp", id="exp-null"),
        pytest.param({"exp": -1}, "exp", id="exp-negative"),
        pytest.param({"exp": [NOW + 300]}, "exp", id="exp-list"),
        pytest.param({"iat": MISSING}, "iat", id="iat-missing"),
        pytest.param({"iat": NOW + 31}, "iat", id="iat-future"),
        pytest.param({"iat": "now"}, "iat", id="iat-text"),
        pytest.param({"nbf": NOW + 31}, "nbf", id="nbf-future"),
        pytest.param({"nbf": "x"}, "nbf", id="nbf-text"),
        pytest.param({"nonce": MISSING}, "nonce", id="L7-nonce-missing"),
        pytest.param({"nonce": "other"}, "nonce", id="L7-nonce-other"),
        pytest.param({"nonce": ""}, "nonce", id="L7-nonce-empty"),
        pytest.param({"nonce": ["the-nonce"]}, "nonce", id="L7-nonce-list"),
        pytest.param({"nonce": "\ud800"}, "nonce", id="L7-nonce-surrogate"),
        pytest.param({"auth_time": "x"}, "auth_time", id="auth-time-text"),
        pytest.param({"auth_time": True}, "auth_time", id="auth-time-bool"),
    ],
)
def test_one_wrong_claim_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(IdTokenClaimError, match=reason):
        check_id_token_claims(with_change(changes), EXPECTED)


@pytest.mark.parametrize(
    ("auth_time", "passes"),
    [
        (NOW, True),
        (NOW - 90, True),
        (NOW - 91, False),
        (NOW + 30, True),
        (NOW + 31, False),
        (MISSING, False),
        (None, False),
    ],
)
def test_a_login_that_asked_for_max_age_gets_an_authentication_no_older_than_that(
    auth_time: object, passes: bool
) -> None:
    expected = replace(EXPECTED, max_age_seconds=60)
    claims = with_change({"auth_time": auth_time})
    if passes:
        check_id_token_claims(claims, expected)
        return
    with pytest.raises(IdTokenClaimError, match=r"auth_time|max_age"):
        check_id_token_claims(claims, expected)


def test_claims_that_come_from_json_with_odd_numbers_are_refused_and_do_not_crash() -> None:
    for text in ("1e400", "-1e400", "NaN", "123456789012345678901234567890"):
        claims = json.loads(json.dumps(GOOD).replace(str(NOW + 300), text))
        with pytest.raises(IdTokenClaimError):
            check_id_token_claims(claims, EXPECTED)


def half_hash(name: str, access_token: str) -> str:
    digest = hashlib.new(name, access_token.encode()).digest()
    return urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("algorithm", "hash_name"),
    [("ES256", "sha256"), ("PS256", "sha256"), ("RS256", "sha256"), ("Ed25519", "sha512"), ("EdDSA", "sha512")],
)
def test_the_access_token_hash_is_that_of_the_algorithm(algorithm: str, hash_name: str) -> None:
    check_access_token_hash({"at_hash": half_hash(hash_name, "token")}, algorithm, "token")
    with pytest.raises(IdTokenClaimError, match="at_hash"):
        check_access_token_hash({"at_hash": half_hash(hash_name, "token")}, algorithm, "other")


def test_an_access_token_hash_may_be_absent_but_not_odd() -> None:
    check_access_token_hash({}, "ES256", "token")
    for odd in (7, "", "é", [half_hash("sha256", "token")]):
        with pytest.raises(IdTokenClaimError, match="at_hash"):
            check_access_token_hash({"at_hash": odd}, "ES256", "token")


def test_a_numeric_date_may_have_a_fraction_and_no_more() -> None:
    assert parse_numeric_date(1.5, "exp") == 1.5
    with pytest.raises(IdTokenClaimError):
        parse_numeric_date(253_402_300_800, "exp")


def test_no_reason_repeats_a_value_that_came_with_the_token() -> None:
    for changes in (
        {"iss": "secret-value"},
        {"aud": "secret-value"},
        {"nonce": "secret-value"},
        {"exp": "secret-value"},
    ):
        with pytest.raises(IdTokenClaimError) as caught:
            check_id_token_claims(with_change(changes), EXPECTED)
        assert "secret-value" not in str(caught.value)
    assert "the-nonce" not in repr(EXPECTED)
