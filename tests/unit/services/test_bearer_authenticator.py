"""Bearer callers over issuers in memory: which entry is asked, what is remembered, and what an outage means."""

from __future__ import annotations

import json
import threading
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import pytest
import requests
import responses
from joserfc import jwe, jws
from joserfc.jwk import ECKey, OctKey

from app.core.errors import IdpUnavailableError, TokenInvalidError
from app.core.routes import RouteTable
from app.services import access_token_sources
from app.services.access_token_sources import build_access_token_sources
from app.services.bearer_authenticator import BearerAuthenticator, BearerCaller
from app.services.control_http import ControlHttp
from app.services.oidc_client import OidcClient
from app.settings import Configuration, PdpSettings
from app.settings.schema import IdpEntry
from tests.support.fake_idp import ISSUER as LOGIN_ISSUER
from tests.unit.services.flow_world import build_settings

PARTNERS = "https://partners.example.com"
LOOKED_UP = "https://lookup.example.com"
AUDIENCE = "https://app.example.com"
KEY = ECKey.generate_key("P-256", {"kid": "k1", "alg": "ES256", "use": "sig"})
OTHER_KEY = ECKey.generate_key("P-256", {"kid": "k2", "alg": "ES256", "use": "sig"})
SECRET = "a-secret-of-some-length"

Answer = tuple[int, dict[str, str], str]
ENTRIES: list[dict[str, Any]] = [
    {
        "name": "partners",
        "provider": "partner",
        "issuer": PARTNERS,
        "audience": AUDIENCE,
        "jwks_url": f"{PARTNERS}/jwks",
        "claims_mapping": {"roles": ["realm_access.roles"], "permissions": ["scope"]},
    },
    {
        "name": "looked-up",
        "issuer": LOOKED_UP,
        "audience": AUDIENCE,
        "introspection_url": f"{LOOKED_UP}/introspect",
        "client_id": "bff at lookup",
        "client_secret": SECRET,
        "claims_mapping": {"roles": ["groups"]},
    },
]


def encode(value: Any) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


class World:
    """Two issuers and the worker that believes them."""

    def __init__(self, network: responses.RequestsMock) -> None:
        self.now = 1_700_000_000.0
        self.network = network
        self.keys = [KEY]
        self.key_requests = 0
        self.key_status = 200
        self.questions: list[requests.PreparedRequest] = []
        self.answer: Answer = (200, {}, "{}")
        self.may_answer = threading.Event()
        self.may_answer.set()
        network.add_callback(responses.GET, f"{PARTNERS}/jwks", callback=self._give_keys)
        for issuer in (LOOKED_UP, LOGIN_ISSUER):
            network.add_callback(responses.POST, f"{issuer}/introspect", callback=self._introspect)
        self.build(ENTRIES)

    def clock(self) -> float:
        return self.now

    def build(self, entries: list[dict[str, Any]], **pdp: Any) -> None:
        settings = build_settings()
        client = OidcClient(settings.oidc, http=ControlHttp(timeout_seconds=5), clock=self.clock, allow_http=False)
        idps = tuple(IdpEntry.model_validate(entry) for entry in entries)
        configuration = Configuration(settings, {}, RouteTable([]), PdpSettings.model_validate(pdp), idps)
        sources = build_access_token_sources(configuration, oidc_client=client, clock=self.clock)
        self.bearers = BearerAuthenticator(sources, kept_claims=configuration.pdp.subject_claims, clock=self.clock)

    def authenticate(self, token: str) -> BearerCaller:
        return self.bearers.authenticate(f"Bearer {token}")

    def sign(self, header: dict[str, Any] | None = None, key: ECKey = KEY, **claims: Any) -> str:
        protected = {"alg": "ES256", "kid": key.kid, "typ": "at+jwt", **(header or {})}
        said = {"iss": PARTNERS, "aud": AUDIENCE, "sub": "alice", "iat": self.now, "exp": self.now + 300, **claims}
        return jws.serialize_compact(protected, json.dumps(said), key, algorithms=["ES256"])

    def say_active(self, **members: Any) -> None:
        said = {"active": True, "aud": AUDIENCE, "sub": "bob", "exp": self.now + 300, **members}
        self.answer = (200, {}, json.dumps({name: value for name, value in said.items() if value is not None}))

    def _give_keys(self, _request: requests.PreparedRequest) -> Answer:
        self.key_requests += 1
        return self.key_status, {}, json.dumps({"keys": [key.as_dict(private=False) for key in self.keys]})

    def _introspect(self, request: requests.PreparedRequest) -> Answer:
        self.questions.append(request)
        self.may_answer.wait(10)
        return self.answer


@pytest.fixture
def world() -> Iterator[World]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as network:
        yield World(network)


# Signed tokens


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


# Tokens that are looked up


def test_a_token_that_is_looked_up_tells_who_calls(world: World) -> None:
    world.say_active(groups="a b", iss=LOOKED_UP, token_type="Bearer")
    identity = world.authenticate("opaque-token").identity
    assert identity.original_user == "auth:account:looked-up:bob"
    assert identity.claims == {"roles": ["a", "b"], "permissions": []}
    [question] = world.questions
    assert isinstance(question.body, bytes)
    assert dict(parse_qsl(question.body.decode())) == {"token": "opaque-token", "token_type_hint": "access_token"}
    credentials = b64decode(question.headers["Authorization"].removeprefix("Basic ")).decode()
    assert credentials == f"bff+at+lookup:{SECRET}"


def test_without_a_client_of_its_own_an_entry_uses_the_one_of_the_login(world: World) -> None:
    entry = {**ENTRIES[1], "issuer": LOGIN_ISSUER, "introspection_url": f"{LOGIN_ISSUER}/introspect"}
    world.build([{**entry, "client_id": "", "client_secret": ""}])
    world.say_active()
    world.authenticate("opaque-token")
    credentials = b64decode(world.questions[0].headers["Authorization"].removeprefix("Basic ")).decode()
    assert credentials == f"bff:{SECRET}"


def test_an_answer_holds_until_the_token_expires(world: World) -> None:
    world.say_active()
    world.authenticate("opaque-token")
    world.now += 299
    world.authenticate("opaque-token")
    assert len(world.questions) == 1
    world.now += 2
    world.answer = (200, {}, json.dumps({"active": False}))
    with pytest.raises(TokenInvalidError):
        world.authenticate("opaque-token")
    assert len(world.questions) == 2


def test_an_answer_without_exp_holds_for_a_minute(world: World) -> None:
    world.say_active(exp=None)
    world.authenticate("opaque-token")
    world.now += access_token_sources.UNKNOWN_LIFETIME_SECONDS
    world.authenticate("opaque-token")
    assert len(world.questions) == 2


def test_a_refusal_is_remembered_for_a_short_time(world: World) -> None:
    world.answer = (200, {}, json.dumps({"active": False}))
    for _ in range(3):
        with pytest.raises(TokenInvalidError):
            world.authenticate("opaque-token")
    assert len(world.questions) == 1
    world.now += access_token_sources.REFUSED_SECONDS
    world.say_active()
    world.authenticate("opaque-token")


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"active": False}, id="inactive"),
        pytest.param({"aud": "https://other.example.com"}, id="T1-aud"),
        pytest.param({"aud": None}, id="aud-missing"),
        pytest.param({"aud": {"a": 1}}, id="T7-aud-object"),
        pytest.param({"iss": PARTNERS}, id="T1-iss"),
        pytest.param({"exp": 1e300}, id="T7-exp-huge"),
        pytest.param({"exp": "x"}, id="T7-exp-text"),
        pytest.param({"exp": 1}, id="exp-past"),
        pytest.param({"sub": None}, id="sub-missing"),
        pytest.param({"cnf": {"jkt": "x"}}, id="bound-to-a-key"),
        pytest.param({"token_type": "DPoP"}, id="dpop"),
    ],
)
def test_an_answer_about_a_token_that_is_not_for_us_refuses_it(world: World, members: dict[str, Any]) -> None:
    world.say_active(**members)
    with pytest.raises(TokenInvalidError):
        world.authenticate("opaque-token")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((500, {}, ""), id="500"),
        pytest.param((401, {}, '{"error":"invalid_client"}'), id="our-credentials-refused"),
        pytest.param((302, {"Location": "https://evil.example"}, ""), id="redirect"),
        pytest.param((200, {}, "not json"), id="not-json"),
        pytest.param((200, {}, "[]"), id="list"),
        pytest.param((200, {}, "{}"), id="active-missing"),
        pytest.param((200, {}, '{"active": "true"}'), id="active-text"),
        pytest.param((200, {}, '{"active": 1}'), id="active-number"),
        pytest.param((200, {}, '{"active": true, "x": "' + "y" * 70_000 + '"}'), id="too-large"),
    ],
)
def test_an_answer_that_answers_nothing_is_no_verdict(world: World, answer: Answer) -> None:
    world.answer = answer
    with pytest.raises(IdpUnavailableError):
        world.authenticate("opaque-token")
    world.say_active()
    world.authenticate("opaque-token")


def test_many_callers_with_one_token_ask_one_question(world: World) -> None:
    world.say_active()
    world.may_answer.clear()
    names: list[str] = []
    callers = [
        threading.Thread(target=lambda: names.append(world.authenticate("opaque-token").identity.user_id))
        for _ in range(8)
    ]
    for caller in callers:
        caller.start()
    world.may_answer.set()
    for caller in callers:
        caller.join(10)
    assert names == ["bob"] * 8
    assert len(world.questions) == 1


def test_with_several_issuers_to_ask_a_nameless_token_is_shown_to_none(world: World) -> None:
    second = {**ENTRIES[1], "name": "second", "issuer": "https://second.example.com"}
    world.build([ENTRIES[1], second])
    world.say_active()
    with pytest.raises(TokenInvalidError):
        world.authenticate("opaque-token")
    assert world.questions == []
    world.authenticate(world.sign(iss=LOOKED_UP))
    assert len(world.questions) == 1


def test_what_is_remembered_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.services.bearer_authenticator.MAX_REMEMBERED", 2)
    world.build(ENTRIES)
    world.say_active()
    for token in ("one", "two", "one", "three"):
        world.authenticate(token)
    world.authenticate("one")
    assert len(world.questions) == 3
    world.authenticate("two")
    assert len(world.questions) == 4


def test_a_clock_that_was_set_back_makes_no_token_good_for_longer(world: World) -> None:
    world.say_active()
    world.authenticate("opaque-token")
    world.now -= 3600
    world.answer = (200, {}, json.dumps({"active": False}))
    with pytest.raises(TokenInvalidError):
        world.authenticate("opaque-token")
