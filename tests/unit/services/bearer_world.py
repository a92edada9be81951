"""Bearer callers over two issuers in memory, one with keys and one that is asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import responses
from joserfc import jws
from joserfc.jwk import ECKey

from app.core.routes import RouteTable
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


LEEWAY_SECONDS = 30
"""`oidc.clock_skew_seconds` when the settings say nothing."""


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
