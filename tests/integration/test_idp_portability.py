"""Providers that do what they may do and few do: a user logs in, calls, is refreshed and logs out at each of them.

What is right for one provider and wrong for another is a setting; everything else here needs none.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from tests.integration.login_world import Browser
from tests.integration.memory_world import World, world
from tests.support.fake_idp import ISSUER, FakeIdp

__all__ = ["world"]


def check_call(world: World, browser: Browser) -> str:
    """Returns the token that the backend got."""
    answer = browser.call("GET", "/api/x")
    assert answer.status_code == 200, answer.text
    [authorization] = world.backend.requests[-1].get_all("Authorization")
    scheme, token = authorization.decode().split(" ")
    assert scheme == "Bearer"
    return token


def check_user(browser: Browser) -> None:
    told = browser.get_session().json
    assert told is not None
    assert told["user"] == {"id": "alice", "name": "Alice", "roles": ["editor"], "permissions": []}


# Each row makes the provider odd for good, before anybody logs in. Its access tokens are over at once, so that every
# call refreshes; a row that has none to refresh with says so.

ODDITIES: dict[str, Callable[[FakeIdp], None]] = {
    "ordinary": lambda idp: None,
    "token-type-lower-case": lambda idp: idp.token_changes.update(token_type="bearer"),
    "token-type-upper-case": lambda idp: idp.token_changes.update(token_type="BEARER"),
    "id-token-without-kid-while-one-key-fits": lambda idp: setattr(idp, "key_id", None),
    "lifetime-in-text": lambda idp: idp.token_changes.update(expires_in="0"),
    "members-that-nobody-knows": lambda idp: idp.token_changes.update(not_before_policy=0, session_state="x"),
    "scope-left-out": lambda idp: idp.token_changes.update(scope=None),
    "no-revocation-endpoint": lambda idp: idp.metadata.pop("revocation_endpoint"),
    "no-logout-endpoint": lambda idp: idp.metadata.pop("end_session_endpoint"),
    "metadata-that-nobody-knows": lambda idp: idp.metadata.update(x_things={"a": [1]}, grant_types_supported="all"),
}


@pytest.mark.parametrize("oddity", ODDITIES)
def test_a_user_of_an_odd_provider_logs_in_calls_is_refreshed_and_logs_out(world: World, oddity: str) -> None:
    world.idp.expires_in = 0
    ODDITIES[oddity](world.idp)
    browser = world.open_browser()
    check_user(browser)
    tokens = {check_call(world, browser) for _ in range(2)}
    assert len(tokens) == world.refreshes() == 2
    assert browser.log_out().status_code == 200
    assert not browser.is_logged_in()


def test_where_refreshing_is_not_offered_the_token_serves_to_its_end_and_nobody_asks_for_another(world: World) -> None:
    world.idp.metadata["grant_types_supported"] = ["authorization_code"]
    world.idp.token_changes = {"refresh_token": None, "expires_in": 20}
    browser = world.open_browser()
    assert {check_call(world, browser) for _ in range(3)} == {"token-1"}
    assert world.refreshes() == 0
    assert browser.log_out().status_code == 200


def test_where_refreshing_is_not_offered_the_session_is_over_with_its_token(world: World) -> None:
    world.idp.token_changes = {"refresh_token": None, "expires_in": 0}
    browser = world.open_browser()
    answer = browser.call("GET", "/api/x")
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (401, "session_expired")
    assert answer.json is not None
    assert answer.json["login_url"]
    assert world.refreshes() == 0


@pytest.mark.parametrize("refresh_token", ["a-refresh-token", None], ids=["renewable", "not-renewable"])
def test_a_token_of_which_nobody_says_how_long_it_lives_is_used(world: World, refresh_token: str | None) -> None:
    world.idp.token_changes = {"expires_in": None, "refresh_token": refresh_token}
    browser = world.open_browser()
    assert {check_call(world, browser) for _ in range(2)} == {"token-1"}
    assert world.refreshes() == 0


@pytest.mark.parametrize(
    "claims",
    [None, {"roles": None, "name": None}, {}],
    ids=["no-id-token", "claims-left-out", "claims-repeated"],
)
def test_what_a_refresh_does_not_say_about_the_user_stays(world: World, claims: dict[str, Any] | None) -> None:
    world.idp.expires_in = 0
    browser = world.open_browser()
    if claims is not None:
        said = {name: value for name, value in {**world.idp.claims, **claims}.items() if value is not None}
        world.idp.claims = {}
        world.idp.token_changes["id_token"] = world.idp.sign_id_token(sub="alice", **said)
    check_call(world, browser)
    assert world.refreshes() == 1
    check_user(browser)


@pytest.mark.parametrize("body", ["", "<html>", "{}", '{"error": ""}'], ids=["empty", "page", "no-code", "empty-code"])
@pytest.mark.parametrize("status", [400, 401, 403])
def test_an_error_without_a_code_logs_nobody_out(world: World, status: int, body: str) -> None:
    world.idp.expires_in = 0
    browser = world.open_browser()
    world.idp.failure = (status, body)
    answer = browser.call("GET", "/api/x")
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (503, "service_token_unavailable")
    assert browser.is_logged_in()
    assert browser.log_out().status_code == 200


def test_an_error_without_a_code_at_a_login_is_a_page_that_lets_the_user_try_again(world: World) -> None:
    browser = world.open_browser()
    world.idp.failure = (400, "")
    answer = world.come_back(browser)
    assert (answer.status_code, answer.headers["X-BFF-Error"]) == (400, "login_failed")
    assert "Try again" in answer.text


def test_callback_parameters_that_nobody_knows_are_ignored_and_never_logged(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    browser = world.open_browser()
    capfd.readouterr()
    unknown = [("session_state", "of-the-provider.1"), ("scope", "unheard-of"), ("x_hint", "twice-1"), ("x_hint", "2")]
    answer = world.come_back(browser, *unknown)
    assert answer.status_code in (200, 303), answer.text
    written = "".join(capfd.readouterr())
    assert "login.completed" in written
    for name, value in unknown:
        assert len(value) < 2 or value not in written, name
        assert value not in answer.text + answer.headers.get("Location", "")


@pytest.mark.parametrize("audience", ["issuer", "token_endpoint", "endpoint"])
def test_the_audience_of_assertions_is_a_setting(world: World, audience: str) -> None:
    world.idp.expires_in = 0
    browser = world.open_browser(client_auth="private_key_jwt", client_secret="", assertion_audience=audience)
    check_call(world, browser)
    keys = KeySet.import_key_set(browser.call("GET", "/.well-known/jwks.json").json)  # type: ignore[arg-type]
    assertions = [jwt.decode(form["client_assertion"], keys, algorithms=["ES256"]) for form in world.idp.forms]
    assert len({assertion.claims["jti"] for assertion in assertions}) == len(world.idp.forms) == 2
    expected = {"issuer": ISSUER, "token_endpoint": f"{ISSUER}/token", "endpoint": f"{ISSUER}/token"}[audience]
    assert {json.dumps(assertion.claims["aud"]) for assertion in assertions} == {json.dumps(expected)}
