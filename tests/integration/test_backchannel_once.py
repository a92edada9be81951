"""OIDC back-channel logout: a token is good once (row L16), also while others are away."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.backchannel_world import (
    LogoutWorld,
    assert_accepted,
    assert_refused,
    client,
    log_in,
    mint,
    send,
    world,
)

__all__ = ["client", "world"]

pytestmark = pytest.mark.live


def test_l16_a_logout_token_is_good_once(world: LogoutWorld) -> None:
    app = world.build()
    log_in(world, app)
    token = mint(world)
    assert_accepted(send(app, token))
    again, _ = log_in(world, app)
    assert_refused(send(app, token))
    assert_refused(send(world.build(), token))
    assert again.is_logged_in()


def test_l16_of_two_of_the_same_at_once_one_is_accepted(world: LogoutWorld) -> None:
    app = world.build()
    for _ in range(5):
        token = mint(world)
        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(lambda each: send(app, each).status_code, [token] * 4))
        assert sorted(answers) == [200, 400, 400, 400]


# While others are away


def test_a_store_that_is_away_is_503_and_the_same_token_is_good_later(world: LogoutWorld) -> None:
    app = world.build()
    browser, sid = log_in(world, app)
    token = mint(world, sid=sid)
    state = world.directory / "state"
    state.rename(state.with_name("away"))
    state.write_text("not a directory")
    assert_refused(send(app, token), 503, "store_unavailable")
    state.unlink()
    state.with_name("away").rename(state)
    assert_accepted(send(app, token))
    assert not browser.is_logged_in()


def test_without_the_providers_keys_it_is_503_and_the_same_token_is_good_later(world: LogoutWorld) -> None:
    browser, sid = log_in(world, world.build())
    token = mint(world, sid=sid)
    world.op.fail("/jwks", status=503)
    assert_refused(send(world.build(), token), 503, "idp_unavailable")
    world.op.clear_faults()
    assert_accepted(send(browser.app, token))
    assert not browser.is_logged_in()


def test_invented_key_ids_neither_flood_the_provider_nor_keep_a_login_from_new_keys(world: LogoutWorld) -> None:
    app = world.build()
    browser, _ = log_in(world, app)
    for _ in range(20):
        assert_refused(send(app, mint(world, fault={"header": {"kid": "nobody"}, "key": "foreign"})))
    asked = [event for event in world.op.events("request") if event["path"] == "/jwks"]
    assert len(asked) <= 2 + 4
    world.op.mutate(jwks="rotate")
    browser.log_in()
    assert browser.is_logged_in()


def test_what_is_no_logout_token_costs_the_provider_nothing(world: LogoutWorld) -> None:
    app = world.build()
    for fault in ({"dropHeader": ["typ"]}, {"header": {"typ": "JWT"}}, {"alg": "none"}):
        assert_refused(send(app, mint(world, fault=fault)))
    asked = [event["path"] for event in world.op.events("request")]
    assert "/jwks" not in asked
    assert "/.well-known/openid-configuration" not in asked
