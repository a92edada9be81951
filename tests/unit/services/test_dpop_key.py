from __future__ import annotations

import json

import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OKPKey

from app.services.dpop_key import (
    BoundToken,
    DpopKeyError,
    build_proof,
    generate_dpop_key,
    get_origin,
    hash_access_token,
    parse_dpop_key,
)

KEY = generate_dpop_key()
URL = "https://api.example.com/v1/forms"
NOW = 1_700_000_000.75


def decode(proof: str) -> jwt.Token:
    """As a server does: with the key that the proof itself carries."""
    carried = jws.extract_compact(proof.encode()).headers()["jwk"]
    return jwt.decode(proof, ECKey.import_key(carried), algorithms=["ES256"])


def test_a_proof_says_what_rfc_9449_asks_and_nothing_more() -> None:
    token = decode(build_proof(KEY, "POST", URL, now=NOW))
    assert token.header == {"typ": "dpop+jwt", "alg": "ES256", "jwk": KEY.public_jwk}
    assert len(token.claims.pop("jti")) >= 22
    assert token.claims == {"htm": "POST", "htu": URL, "iat": 1_700_000_000}


def test_a_proof_for_a_resource_holds_a_hash_of_the_token_and_the_nonce() -> None:
    claims = decode(build_proof(KEY, "GET", URL, now=NOW, nonce="n-1", access_token="at-1")).claims
    assert (claims["nonce"], claims["ath"]) == ("n-1", hash_access_token("at-1"))


def test_the_hash_of_a_token_is_that_of_the_rfc() -> None:
    """The example of RFC 9449 §7.1."""
    token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
    assert hash_access_token(token) == "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"


@pytest.mark.parametrize("rest", ["?a=1", "#part", "?a=1#part", "#part?a=1", "?", "??"])
def test_query_and_fragment_are_no_part_of_htu(rest: str) -> None:
    assert decode(build_proof(KEY, "GET", URL + rest, now=NOW)).claims["htu"] == URL


def test_no_two_proofs_have_the_same_jti() -> None:
    assert len({decode(build_proof(KEY, "GET", URL, now=NOW)).claims["jti"] for _ in range(20)}) == 20


def test_a_kept_key_is_the_same_key_when_it_is_read_again() -> None:
    again = parse_dpop_key(KEY.text)
    assert (again.thumbprint, again.public_jwk) == (KEY.thumbprint, KEY.public_jwk)
    assert decode(build_proof(again, "GET", URL, now=NOW)).claims["htm"] == "GET"


def test_each_key_is_a_new_one() -> None:
    assert generate_dpop_key().thumbprint != generate_dpop_key().thumbprint


def test_the_public_half_holds_no_private_member() -> None:
    assert set(KEY.public_jwk) == {"kty", "crv", "x", "y"}


def test_no_repr_shows_the_key_or_a_token() -> None:
    shown = repr(BoundToken("the-access-token", KEY))
    private = json.loads(KEY.text)["d"]
    assert not [secret for secret in ("the-access-token", private, KEY.public_jwk["x"]) if secret in shown]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("{}", id="no-members"),
        pytest.param("[]", id="list"),
        pytest.param("null", id="null"),
        pytest.param(json.dumps(KEY.public_jwk), id="public-half-only"),
        pytest.param(json.dumps({**json.loads(KEY.text), "d": "!"}), id="malformed"),
        pytest.param(json.dumps(ECKey.generate_key("P-384", private=True).as_dict(private=True)), id="other-curve"),
        pytest.param(json.dumps(OKPKey.generate_key("Ed25519", private=True).as_dict(private=True)), id="other-kind"),
    ],
)
def test_what_is_no_kept_key_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(DpopKeyError) as caught:
        parse_dpop_key(text)
    assert caught.value.__cause__ is None
    assert len(text) < 5 or text not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://idp.example.com/token", "https://idp.example.com"),
        ("HTTPS://IDP.example.com:8443/a?b=https://other/", "https://idp.example.com:8443"),
        ("http://[::1]:80/x", "http://[::1]:80"),
    ],
)
def test_an_origin_is_scheme_host_and_port(url: str, origin: str) -> None:
    assert get_origin(url) == origin
