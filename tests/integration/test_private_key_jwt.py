"""The BFF proves who it is with its own key, at every endpoint of the real OpenID Provider that asks."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import requests
from flask import Flask
from joserfc import jwt
from joserfc.jwk import KeySet

from app.services.key_store import Algorithm
from tests.integration.login_world import ORIGIN, World, world

__all__ = ["world"]

pytestmark = pytest.mark.live


def build_app(world: World, **oidc: Any) -> Flask:
    """A BFF whose keys the provider knows, as it would from the JWKS."""
    app = world.build(oidc={"client_auth": "private_key_jwt", "client_secret": "", "client_id": "to-come"})
    jwks = app.test_client().get("/.well-known/jwks.json", base_url=ORIGIN).json
    client = world.op.register_client(ORIGIN, auth_method="private_key_jwt", jwks=jwks)
    return world.build(oidc={"client_id": client.client_id, **oidc})


def read_assertions(world: World, app: Flask) -> list[jwt.Token]:
    keys = KeySet.import_key_set(app.extensions["bff"].key_store.public_jwks())
    algorithms = list(get_args(Algorithm))
    return [jwt.decode(value, keys, algorithms=algorithms) for value in world.op.secrets("client_assertion")]


@pytest.mark.parametrize("algorithm", get_args(Algorithm))
def test_a_user_logs_in_with_each_kind_of_key(world: World, algorithm: Algorithm) -> None:
    world.build(keys={"directory": str(world.directory / algorithm), "algorithm": algorithm})
    app = build_app(world)
    browser = world.open_browser(app)
    browser.log_in()
    assert browser.is_logged_in()
    assert {token.header["alg"] for token in read_assertions(world, app)} == {algorithm}


@pytest.mark.parametrize("audience", ["issuer", "token_endpoint", "endpoint"])
def test_t17_each_endpoint_gets_an_assertion_of_its_own(world: World, audience: str) -> None:
    """Pushed request, code, refresh and revocation, each with another `jti`."""
    app = build_app(world, assertion_audience=audience)
    browser = world.open_browser(app)
    browser.log_in()
    [refresh_token] = world.op.secrets("refresh_token")
    app.extensions["bff"].oidc_client.refresh(refresh_token)
    assert browser.log_out().status_code == 200

    used = [event["path"] for event in world.op.events("request") if event["method"] == "POST"]
    authenticated = [path for path in used if path in ("/request", "/token", "/token/revocation")]
    assert sorted(set(authenticated)) == ["/request", "/token", "/token/revocation"]
    assert authenticated.count("/token") == 2
    assert not world.op.events("grant.error")
    tokens = read_assertions(world, app)
    assert len(tokens) == len({token.claims["jti"] for token in tokens}) == len(authenticated)
    issuer = world.op.issuer
    expected = {
        "issuer": {issuer},
        "token_endpoint": {f"{issuer}/token"},
        "endpoint": {f"{issuer}{path}" for path in authenticated},
    }
    assert {token.claims["aud"] for token in tokens} == expected[audience]


def test_an_assertion_that_was_seen_is_refused_by_the_provider(world: World) -> None:
    """That the provider does look: an assertion of ours, sent once more, is refused."""
    app = build_app(world, par="off")
    world.open_browser(app).log_in()
    (assertion,) = world.op.secrets("client_assertion")
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": assertion,
    }
    answer = requests.post(f"{world.op.issuer}/token", data=form, timeout=10)
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_a_key_that_the_provider_does_not_know_makes_no_session(world: World) -> None:
    build_app(world)
    browser = world.open_browser(world.build(keys={"directory": str(world.directory / "other")}, oidc={"par": "off"}))
    answer = browser.navigate(browser.walk_to_callback(), site="cross-site")
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (400, "login_failed")
    assert not browser.is_logged_in()
