"""A login while the provider is away: what the user is told, and that it works again when the provider is back."""

from __future__ import annotations

import pytest

from tests.integration.login_answers import assert_refused
from tests.integration.login_world import Browser, World, world
from tests.support.real_op import start_op

__all__ = ["world"]

pytestmark = pytest.mark.live


def test_o3_the_bff_starts_without_its_provider_and_heals(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("late")
    op = start_op(directory)
    port = op.port
    op.stop()
    late = World(directory, op)
    browser = late.open_browser(oidc={"timeout_seconds": 2})
    answer = browser.navigate("/auth/login")
    assert_refused(answer, "idp_unavailable", 503)
    assert browser.get_session().status_code == 401
    again = start_op(directory, port=port)
    try:
        fresh = Browser(late.build())
        fresh.log_in()
        assert fresh.is_logged_in()
    finally:
        again.stop()


def test_a_provider_that_fails_at_the_token_endpoint_is_503_and_the_user_may_try_again(world: World) -> None:
    browser = world.open_browser()
    callback = browser.walk_to_callback(return_to="/app")
    world.op.fail("/token", status=503)
    answer = browser.navigate(callback, site="cross-site")
    assert_refused(answer, "idp_unavailable", 503)
    assert 'href="/auth/login?return_to=%2Fapp"' in answer.text
    world.op.clear_faults()
    browser.log_in()


def test_a_provider_that_hangs_is_given_up_in_time(world: World) -> None:
    browser = world.open_browser(oidc={"timeout_seconds": 0.5})
    callback = browser.walk_to_callback()
    world.op.fail("/token", delay_ms=5000)
    assert_refused(browser.navigate(callback, site="cross-site"), "idp_unavailable", 503)


def test_a_callback_while_the_provider_cannot_be_discovered_spoils_nothing(world: World) -> None:
    before = world.open_browser()
    callback = before.walk_to_callback()
    after = Browser(world.build())  # as after a restart: nothing is cached
    after.client._cookies = before.client._cookies
    world.op.fail("/.well-known/openid-configuration", status=503)
    assert_refused(after.navigate(callback, site="cross-site"), "idp_unavailable", 503)
    world.op.clear_faults()
    healed = Browser(world.build())
    healed.client._cookies = before.client._cookies
    assert healed.navigate(callback, site="cross-site").status_code == 303
