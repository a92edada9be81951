"""Signatures of the identity provider: the algorithms, the keys and their choice (attack rows T1 and T6)."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import pytest
import responses
from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from app.core.errors import IdpUnavailableError
from app.services.control_http import ControlHttp
from app.services.oidc_answers import AnswerRefusedError
from app.services.oidc_document_cache import NEWS_FETCHES
from app.services.oidc_keys import (
    KeySource,
    SignatureRefusedError,
    find_key,
    parse_key_set,
    parse_signed_token,
    verify_signature,
)

CLAIMS = {"iss": "https://idp.example.com", "sub": "alice"}
EC = ECKey.generate_key("P-256")
EC_OTHER = ECKey.generate_key("P-256")
RSA = RSAKey.generate_key(2048)
OKP = OKPKey.generate_key("Ed25519")
KEY_OF: dict[str, Key] = {"ES256": EC, "PS256": RSA, "RS256": RSA, "Ed25519": OKP}


def encode(value: Any) -> str:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return urlsafe_b64encode(body).rstrip(b"=").decode()


def sign(algorithm: str, key: Key, header: Mapping[str, Any] | None = None, payload: Any = CLAIMS) -> str:
    protected = {"alg": algorithm, **(header or {})}
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    return jws.serialize_compact(protected, body, key, registry=registry)


def publish(key: Key, **members: Any) -> dict[str, Any]:
    return {**key.as_dict(private=False), **members}


def verify(token: str, *keys: Mapping[str, Any]) -> dict[str, object]:
    parsed = parse_signed_token(token)
    key = find_key(keys, parsed)
    assert key is not None, "no key was chosen"
    return verify_signature(parsed, key).claims


@pytest.mark.parametrize("algorithm", ["ES256", "PS256", "RS256", "Ed25519"])
def test_each_allowed_algorithm_verifies(algorithm: str) -> None:
    key = KEY_OF[algorithm]
    assert verify(sign(algorithm, key, {"kid": "k"}), publish(key, kid="k", alg=algorithm, use="sig")) == CLAIMS


@pytest.mark.parametrize("published", ["EdDSA", "Ed25519", None])
@pytest.mark.parametrize("used", ["EdDSA", "Ed25519"])
def test_both_names_of_ed25519_verify_without_a_warning(used: str, published: str | None) -> None:
    token = sign("Ed25519", OKP)
    header, payload, _ = token.split(".")
    header = encode({"alg": used})
    signature = OKP.get_op_key("sign").sign(f"{header}.{payload}".encode())  # type: ignore[union-attr]
    key = publish(OKP, **({} if published is None else {"alg": published}))
    assert verify(f"{header}.{payload}.{encode(signature)}", key) == CLAIMS


def build_unsigned(header: Mapping[str, Any], signature: str = "") -> str:
    return f"{encode(header)}.{encode(CLAIMS)}.{signature}"


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(build_unsigned({"alg": "none"}), id="T1-none"),
        pytest.param(build_unsigned({"alg": "None"}, "eA"), id="T1-none-capital"),
        pytest.param(build_unsigned({"alg": "HS256"}, "eA"), id="T1-hs256"),
        pytest.param(build_unsigned({"alg": "ES384"}, "eA"), id="es384"),
        pytest.param(build_unsigned({"alg": "es256"}, "eA"), id="es256-lower-case"),
        pytest.param(build_unsigned({"alg": ["ES256"]}, "eA"), id="alg-list"),
        pytest.param(build_unsigned({"alg": None}, "eA"), id="alg-null"),
        pytest.param(build_unsigned({"typ": "JWT"}, "eA"), id="alg-missing"),
        pytest.param(build_unsigned({"alg": "ES256", "crit": ["exp"], "exp": 1}, "eA"), id="crit"),
        pytest.param(build_unsigned({"alg": "ES256", "crit": []}, "eA"), id="crit-empty"),
        pytest.param(build_unsigned({"alg": "ES256", "b64": False}, "eA"), id="b64"),
        pytest.param(build_unsigned({"alg": "ES256", "kid": 7}, "eA"), id="kid-number"),
        pytest.param("", id="empty"),
        pytest.param("a.b", id="two-parts"),
        pytest.param("a.b.c.d.e", id="T6-jwe"),
        pytest.param("..", id="three-nothings"),
        pytest.param(f"{encode(b'[]')}.e30.eA", id="header-list"),
        pytest.param(f"{encode(b'[' * 30_000)}.e30.eA", id="T6-header-deep"),
        pytest.param("e30=.e30.eA", id="header-padded"),
        pytest.param(f"{encode(b'x')}.e30.eA", id="header-not-json"),
        pytest.param(f"{encode({'alg': 'ES256'})}.{'a' * 70_000}.eA", id="T6-too-large"),
        pytest.param("é.e30.eA", id="not-ascii"),
    ],
)
def test_a_token_that_can_never_be_good_is_refused_before_any_key_is_looked_for(token: str) -> None:
    with pytest.raises(SignatureRefusedError):
        parse_signed_token(token)


def test_the_public_key_does_not_serve_as_a_shared_secret() -> None:
    signing_input = f"{encode({'alg': 'HS256', 'kid': 'k'})}.{encode(CLAIMS)}"
    secret = json.dumps(publish(RSA, kid="k")).encode()
    token = f"{signing_input}.{encode(hmac.digest(secret, signing_input.encode(), 'sha256'))}"
    with pytest.raises(SignatureRefusedError, match="not allowed"):
        parse_signed_token(token)


def flip(token: str, part: int) -> str:
    parts = token.split(".")
    middle = len(parts[part]) // 2
    parts[part] = parts[part][:middle] + ("A" if parts[part][middle] != "A" else "B") + parts[part][middle + 1 :]
    return ".".join(parts)


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(sign("ES256", EC_OTHER), id="foreign-key"),
        pytest.param(flip(sign("ES256", EC), 2), id="flipped-signature"),
        pytest.param(flip(sign("ES256", EC), 1), id="flipped-payload"),
        pytest.param(sign("ES256", EC).rpartition(".")[0] + ".", id="no-signature"),
        pytest.param(sign("ES256", EC)[:-4], id="cut-signature"),
        pytest.param(sign("ES256", EC, payload=b"[]"), id="payload-list"),
        pytest.param(sign("ES256", EC, payload=b"not json"), id="payload-not-json"),
        pytest.param(sign("ES256", EC, payload=b'{"exp": NaN}'), id="T7-payload-nan"),
        pytest.param(sign("ES256", EC, payload=b"\xff"), id="payload-not-utf-8"),
        pytest.param(sign("ES256", EC, payload=b"[" * 20_000), id="payload-deep"),
    ],
)
def test_a_token_with_one_fault_is_refused(token: str) -> None:
    with pytest.raises(SignatureRefusedError):
        verify_signature(parse_signed_token(token), publish(EC))


def test_a_header_with_members_that_nobody_knows_is_no_fault() -> None:
    assert verify(sign("ES256", EC, {"x-own": {"a": 1}, "x5c": ["a" * 2000]}), publish(EC)) == CLAIMS


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"use": "enc"}, id="use-enc"),
        pytest.param({"use": 7}, id="use-odd"),
        pytest.param({"key_ops": ["encrypt"]}, id="key-ops"),
        pytest.param({"key_ops": "verify"}, id="key-ops-text"),
        pytest.param({"alg": "ES384"}, id="alg-other"),
        pytest.param({"alg": ["ES256"]}, id="alg-list"),
        pytest.param({"crv": "P-384"}, id="curve-other"),
        pytest.param({"kty": "oct"}, id="type-other"),
        pytest.param({"kid": "other"}, id="kid-other"),
        pytest.param({"kid": ["k"]}, id="kid-list"),
    ],
)
def test_a_key_that_was_published_for_something_else_is_not_chosen(members: dict[str, Any]) -> None:
    token = parse_signed_token(sign("ES256", EC, {"kid": "k"}))
    assert find_key([publish(EC, kid="k")], token) is not None
    assert find_key([{**publish(EC, kid="k"), **members}], token) is None


def test_a_token_without_kid_is_good_when_exactly_one_key_fits_its_algorithm() -> None:
    token = parse_signed_token(sign("ES256", EC))
    others = [publish(RSA, kid="r"), publish(OKP, kid="o"), publish(EC_OTHER, kid="e", use="enc")]
    assert find_key([*others, publish(EC, kid="k")], token) == publish(EC, kid="k")
    assert find_key([*others, publish(EC, kid="k"), publish(EC_OTHER, kid="l")], token) is None


@pytest.mark.parametrize("bits", [1024])
def test_a_short_rsa_key_is_not_chosen(bits: int) -> None:
    modulus = encode(((1 << (bits - 1)) + 1).to_bytes(bits // 8, "big"))
    token = parse_signed_token(sign("RS256", RSA))
    assert find_key([{"kty": "RSA", "n": modulus, "e": "AQAB"}], token) is None
    assert find_key([{"kty": "RSA", "n": "!", "e": "AQAB"}], token) is None
    assert find_key([{"kty": "RSA", "e": "AQAB"}], token) is None


@pytest.mark.parametrize(
    "key",
    [
        pytest.param({"kty": "EC", "crv": "P-256"}, id="no-numbers"),
        pytest.param({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, id="not-on-the-curve"),
        pytest.param({"kty": "EC", "crv": "P-256", "x": 7, "y": []}, id="odd-numbers"),
        pytest.param({"kty": "EC", "crv": "P-256", "x": "", "y": ""}, id="empty-numbers"),
    ],
)
def test_a_broken_key_refuses_the_token_and_does_not_crash(key: dict[str, Any]) -> None:
    with pytest.raises(SignatureRefusedError):
        verify(sign("ES256", EC), key)


def test_a_key_set_may_hold_kinds_that_nobody_knows() -> None:
    assert parse_key_set({"keys": [{"kty": "ML-DSA"}, "odd", publish(EC)]}) == ({"kty": "ML-DSA"}, publish(EC))


@pytest.mark.parametrize("document", [{}, {"keys": None}, {"keys": {}}, {"keys": "x"}])
def test_a_document_that_is_no_key_set_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(AnswerRefusedError):
        parse_key_set(document)


class FakeClock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


JWKS = "https://idp.example.com/jwks"


def build_source(clock: FakeClock) -> KeySource:
    return KeySource(http=ControlHttp(timeout_seconds=5), clock=clock, get_jwks_uri=lambda: JWKS)


@responses.activate
def test_invented_kids_do_not_become_a_stream_of_fetches() -> None:
    clock = FakeClock()
    source = build_source(clock)
    fetches = responses.get(JWKS, json={"keys": [publish(EC, kid="old")]})
    assert source.verify(sign("ES256", EC, {"kid": "old"})).claims == CLAIMS
    for number in range(20):
        with pytest.raises(SignatureRefusedError, match="no published key"):
            source.verify(sign("ES256", EC, {"kid": f"invented-{number}"}))
    assert fetches.call_count == 1 + NEWS_FETCHES


@responses.activate
def test_a_key_that_was_rotated_in_is_found() -> None:
    clock = FakeClock()
    source = build_source(clock)
    responses.get(JWKS, json={"keys": [publish(EC, kid="old")]})
    source.verify(sign("ES256", EC, {"kid": "old"}))
    responses.replace(responses.GET, JWKS, json={"keys": [publish(EC, kid="old"), publish(EC_OTHER, kid="new")]})
    assert source.verify(sign("ES256", EC_OTHER, {"kid": "new"})).claims == CLAIMS


@pytest.mark.parametrize(("status", "body"), [(503, ""), (200, "x"), (200, '{"keys": 1}'), (404, "{}")])
@responses.activate
def test_keys_that_cannot_be_had_are_the_providers_fault_not_the_tokens(status: int, body: str) -> None:
    responses.get(JWKS, body=body, status=status)
    with pytest.raises(IdpUnavailableError):
        build_source(FakeClock()).verify(sign("ES256", EC))


@responses.activate
def test_a_token_that_can_never_be_good_causes_no_fetch() -> None:
    fetches = responses.get(JWKS, json={"keys": []})
    with pytest.raises(SignatureRefusedError):
        build_source(FakeClock()).verify(build_unsigned({"alg": "none"}))
    assert fetches.call_count == 0


def test_no_token_and_no_claim_is_in_a_repr() -> None:
    token = sign("ES256", EC)
    assert token not in repr(parse_signed_token(token))
    assert "alice" not in repr(verify_signature(parse_signed_token(token), publish(EC)))
