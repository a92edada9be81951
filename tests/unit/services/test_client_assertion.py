from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from joserfc import jwt
from joserfc.jwk import JWKRegistry

from app.core.errors import StoreUnavailableError
from app.services.client_assertion import AssertionAudience, AssertionSigner
from app.services.control_http import ControlHttp
from app.services.key_store import Algorithm, KeyStore, SigningKey
from app.services.oidc_client import OidcClient
from app.settings.schema.oidc_section import OidcSettings
from tests.support.fake_idp import ISSUER as FAKE_ISSUER
from tests.support.fake_idp import FakeIdp
from tests.unit.services.key_store.support import open_key_store

ISSUER = "https://idp.example.com"
TOKEN_ENDPOINT = f"{ISSUER}/token"
NOW = 1_700_000_000.75


def build_signer(keys: KeyStore, audience: AssertionAudience = "issuer") -> AssertionSigner:
    return AssertionSigner("bff", audience, ISSUER, lambda: TOKEN_ENDPOINT, lambda: keys.current, lambda: NOW)


def decode(keys: KeyStore, assertion: str) -> jwt.Token:
    (published,) = keys.public_jwks()["keys"]
    return jwt.decode(assertion, JWKRegistry.import_key({**published}), algorithms=[published["alg"]])


@pytest.mark.parametrize("algorithm", get_args(Algorithm))
def test_the_published_key_verifies_an_assertion(tmp_path: Path, algorithm: Algorithm) -> None:
    keys = open_key_store(tmp_path / "keys", algorithm)
    token = decode(keys, build_signer(keys).sign(TOKEN_ENDPOINT))
    assert token.header == {"alg": algorithm, "kid": keys.current.kid, "typ": "client-authentication+jwt"}


def test_an_assertion_says_what_rfc_7523_asks_and_is_good_for_a_minute(tmp_path: Path) -> None:
    keys = open_key_store(tmp_path / "keys")
    claims = decode(keys, build_signer(keys).sign(TOKEN_ENDPOINT)).claims
    assert len(claims.pop("jti")) >= 43
    issued_at = 1_699_999_990
    assert claims == {"iss": "bff", "sub": "bff", "aud": ISSUER, "iat": issued_at, "exp": issued_at + 60}


def test_t17_no_two_assertions_have_the_same_jti(tmp_path: Path) -> None:
    keys = open_key_store(tmp_path / "keys")
    signer = build_signer(keys)
    assert len({decode(keys, signer.sign(TOKEN_ENDPOINT)).claims["jti"] for _ in range(20)}) == 20


@pytest.mark.parametrize(
    ("audience", "expected", "typ"),
    [
        ("issuer", ISSUER, "client-authentication+jwt"),
        ("token_endpoint", TOKEN_ENDPOINT, "JWT"),
        ("endpoint", f"{ISSUER}/par", "JWT"),
    ],
)
def test_audience_and_type_are_what_the_setting_says(
    tmp_path: Path, audience: AssertionAudience, expected: str, typ: str
) -> None:
    keys = open_key_store(tmp_path / "keys")
    token = decode(keys, build_signer(keys, audience).sign(f"{ISSUER}/par"))
    assert (token.claims["aud"], token.header["typ"]) == (expected, typ)


def test_a_revocation_without_a_key_is_one_that_did_not_work() -> None:
    """It is best effort, and must never keep a logout from its end."""

    def refuse() -> SigningKey:
        raise StoreUnavailableError(internal_reason="there is no signing key")

    with FakeIdp().serve() as idp:
        settings = OidcSettings(issuer=FAKE_ISSUER, client_id="bff")
        http = ControlHttp(timeout_seconds=5)
        client = OidcClient(settings, http=http, clock=lambda: NOW, allow_http=False, get_signing_key=refuse)
        assert client.revoke("a-token", "refresh_token", total_seconds=5) is False
        with pytest.raises(StoreUnavailableError):
            client.refresh("a-token")
        assert (idp.revoked, idp.forms) == ([], [])


def test_the_key_is_asked_for_each_time(tmp_path: Path) -> None:
    first, second = open_key_store(tmp_path / "a"), open_key_store(tmp_path / "b")
    keys = [second.current, first.current]
    signer = AssertionSigner("bff", "issuer", ISSUER, str, keys.pop, lambda: NOW)
    assert decode(first, signer.sign("")).header["kid"] == first.current.kid
    assert decode(second, signer.sign("")).header["kid"] == second.current.kid
