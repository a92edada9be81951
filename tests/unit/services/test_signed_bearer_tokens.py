"""Bearer callers with signed tokens: which entry takes one, what is remembered, and what an outage means."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from joserfc import jwe, jws
from joserfc.jwk import ECKey, OctKey

from app.core.errors import IdpUnavailableError, TokenInvalidError
from app.services import access_token_sources
from tests.unit.services.bearer_world import (
    AUDIENCE,
    ENTRIES,
    KEY,
    LEEWAY_SECONDS,
    LOOKED_UP,
    OTHER_KEY,
    PARTNERS,
    World,
    world,
)

__all__ = ["world"]


def test_a_signed_token_tells_who_calls(world: World) -> None:
    token = world.sign(realm_access={"roles": ["editor"]}, scope="read write")
    caller = world.authenticate(token)
    assert caller.token == token
    assert token not in repr(caller)
    identity = caller.identity
    assert (identity.user_id, identity.original_user) == ("alice", "auth:account:partner:alice")
    assert identity.session_reference == ""
    assert identity.claims == {"roles": ["editor"], "permissions": ["read", "write"]}


def test_an_identity_keeps_what_the_decision_point_is_told(world: World) -> None:
    world.build(ENTRIES, subject_claims=["department"])
    assert world.authenticate(world.sign(department="sales", email="x")).identity.claims["department"] == "sales"


def encode(value: Any) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def build_hs256_with_public_key() -> str:
    secret = OctKey.import_key(json.dumps(KEY.as_dict(private=False)).encode())
    claims = {"iss": PARTNERS, "aud": AUDIENCE, "sub": "alice", "exp": 1_700_000_300}
    return jws.serialize_compact({"alg": "HS256", "kid": "k1"}, json.dumps(claims), secret, algorithms=["HS256"])


def build_compressed_jwe() -> str:
    bomb = b"0" * 250_000
    return jwe.encrypt_compact({"alg": "ECDH-ES", "enc": "A128GCM", "zip": "DEF"}, bomb, ECKey.generate_key("P-256"))


CLAIMS = {"iss": PARTNERS, "aud": AUDIENCE, "sub": "alice", "exp": 1_700_000_300}


def change_signature(token: str) -> str:
    """Changes the first character of the signature, all of whose bits count, into another one."""
    signed, signature = token.rsplit(".", 1)
    return f"{signed}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


FORGED = [
    pytest.param(lambda _: f"{encode({'alg': 'none'})}.{encode(CLAIMS)}.", id="T1-alg-none"),
    pytest.param(lambda _: build_hs256_with_public_key(), id="T1-hs256-with-public-key"),
    pytest.param(lambda world: world.sign(key=OTHER_KEY, header={"kid": "k1"}), id="T1-another-key"),
    pytest.param(lambda world: world.sign(iss="https://evil.example"), id="T1-iss"),
    pytest.param(lambda world: world.sign(aud="https://evil.example"), id="T1-aud"),
    pytest.param(lambda world: world.sign(padding="x" * 20_000), id="T6-oversized"),
    pytest.param(lambda _: build_compressed_jwe(), id="T6-compressed-jwe"),
    pytest.param(lambda world: world.sign(exp=1e300), id="T7-exp-huge"),
    pytest.param(lambda world: world.sign(exp="x"), id="T7-exp-text"),
    pytest.param(lambda world: world.sign(aud={"https://app.example.com": 1}), id="T7-aud-object"),
    pytest.param(lambda world: world.sign(header={"typ": "logout+jwt"}), id="logout-token"),
    pytest.param(lambda world: world.sign(header={"typ": "JWT"}, nonce="n"), id="id-token"),
    pytest.param(lambda world: world.sign(header={"kid": "unknown"}), id="unknown-kid"),
    pytest.param(lambda world: change_signature(world.sign()), id="signature-changed"),
    pytest.param(lambda world: world.sign().rsplit(".", 1)[0] + ".", id="signature-gone"),
    pytest.param(lambda _: "...", id="dots"),
    pytest.param(lambda _: "e30.e30.e30", id="empty-objects"),
]


@pytest.mark.parametrize("forge", FORGED)
def test_a_forged_token_is_refused_and_no_issuer_is_shown_it(world: World, forge: Any) -> None:
    world.build(ENTRIES[:1])
    with pytest.raises(TokenInvalidError) as refused:
        world.authenticate(forge(world))
    assert ("WWW-Authenticate", 'Bearer realm="bff", error="invalid_token"') in refused.value.headers
    assert world.questions == []


def test_an_entry_takes_the_tokens_of_its_own_issuer_only(world: World) -> None:
    """Two issuers, one audience: the keys of the one say nothing about the tokens of the other."""
    other = {**ENTRIES[0], "name": "other", "provider": "other", "issuer": LOOKED_UP}
    world.network.get(f"{LOOKED_UP}/jwks", json={"keys": [OTHER_KEY.as_dict(private=False)]})
    world.build([ENTRIES[0], {**other, "jwks_url": f"{LOOKED_UP}/jwks"}])
    assert world.authenticate(world.sign(key=OTHER_KEY, iss=LOOKED_UP)).identity.provider == "other"
    with pytest.raises(TokenInvalidError):
        world.authenticate(world.sign(iss=LOOKED_UP))


def test_the_audience_chooses_among_the_entries_of_an_issuer(world: World) -> None:
    second = {**ENTRIES[0], "name": "second", "provider": "second", "audience": "urn:second"}
    world.build([ENTRIES[0], second])
    assert world.authenticate(world.sign(aud="urn:second")).identity.provider == "second"
    assert world.authenticate(world.sign()).identity.provider == "partner"


def test_a_signature_is_checked_once_and_for_a_bounded_time(world: World) -> None:
    token = world.sign()
    world.authenticate(token)
    world.keys = [OTHER_KEY]
    world.now += access_token_sources.VERIFIED_SECONDS - 1
    world.authenticate(token)
    world.now += access_token_sources.KEY_TIMES.lifetime
    with pytest.raises(TokenInvalidError):
        world.authenticate(world.sign(key=KEY))


def test_a_key_that_was_taken_back_is_of_no_use_after_a_while(world: World) -> None:
    token = world.sign(exp=world.now + 3600)
    world.authenticate(token)
    world.keys = [OTHER_KEY]
    world.now += access_token_sources.KEY_TIMES.lifetime + access_token_sources.VERIFIED_SECONDS
    with pytest.raises(TokenInvalidError):
        world.authenticate(token)


def test_a_remembered_token_ends_with_its_exp(world: World) -> None:
    token = world.sign(exp=world.now + 10)
    world.authenticate(token)
    world.now += 41
    with pytest.raises(TokenInvalidError):
        world.authenticate(token)


def test_a_caller_tells_when_its_token_is_over(world: World) -> None:
    token, ends_at = world.sign(exp=world.now + 300), world.now + 300 + LEEWAY_SECONDS
    for _ in range(2):  # also the second time, when the token is known
        assert world.authenticate(token).ends_at == ends_at
        world.now += 10
    world.now = ends_at - 1
    assert world.authenticate(token).ends_at == ends_at
    world.now = ends_at
    with pytest.raises(TokenInvalidError):
        world.authenticate(token)


def test_a_new_key_is_found_at_once_and_invented_ones_are_not_looked_for_without_end(world: World) -> None:
    world.authenticate(world.sign())
    world.keys = [KEY, OTHER_KEY]
    world.authenticate(world.sign(key=OTHER_KEY))
    for number in range(20):
        with pytest.raises(TokenInvalidError):
            world.authenticate(world.sign(header={"kid": f"invented-{number}"}))
    assert world.key_requests <= 5


@pytest.mark.parametrize("status", [500, 404])
def test_without_keys_nobody_can_say_whether_a_token_is_good(world: World, status: int) -> None:
    world.key_status = status
    with pytest.raises(IdpUnavailableError):
        world.authenticate(world.sign())


def test_keys_that_were_had_serve_while_the_issuer_is_away(world: World) -> None:
    world.authenticate(world.sign())
    world.key_status = 500
    world.now += access_token_sources.KEY_TIMES.lifetime + 1
    world.authenticate(world.sign(sub="bob"))
