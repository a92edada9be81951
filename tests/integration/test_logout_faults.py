"""A logout, and a session, while the provider or the store is away (rows L15 and O1)."""

from __future__ import annotations

import pytest

from tests.integration.login_world import SESSION_COOKIE, Browser, World, world
from tests.integration.session_answers import assert_refused, clears_cookies

__all__ = ["world"]

pytestmark = pytest.mark.live


def test_l15_a_provider_that_is_away_does_not_keep_anybody_logged_in(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    world.op.fail("/token/revocation", status=503)
    answer = browser.log_out()
    assert answer.status_code == 200
    assert clears_cookies(answer)
    assert not browser.is_logged_in()


def test_l15_a_provider_that_hangs_is_not_waited_for(world: World) -> None:
    browser = world.open_browser(oidc={"timeout_seconds": 0.5})
    browser.log_in()
    world.op.fail("/token/revocation", delay_ms=20_000)
    answer = browser.log_out()
    assert answer.status_code == 200
    assert not browser.is_logged_in()
    world.op.clear_faults()


def test_l15_a_provider_that_answers_nothing_at_all_is_not_waited_for(world: World) -> None:
    browser = world.open_browser(oidc={"timeout_seconds": 0.5})
    browser.log_in()
    token = browser.csrf_token()
    browser.app = world.build()  # a worker that has not asked it anything yet
    slow = {"status": 0, "times": -1, "delay_ms": 20_000}
    world.op.mutate(fail=dict.fromkeys(("/.well-known/openid-configuration", "/token/revocation"), slow))
    here = Browser(browser.app)
    here.client.set_cookie(SESSION_COOKIE, browser.cookie() or "", domain="localhost")
    answer = here.call("POST", "/auth/logout", headers={"X-CSRF-Token": token})
    assert (answer.status_code, answer.json) == (200, {"logout_url": None})
    assert clears_cookies(answer)
    assert not browser.is_logged_in()
    world.op.clear_faults()


def test_l15_a_store_that_is_away_takes_the_cookie_all_the_same_and_ends_the_session_later(world: World) -> None:
    app = world.build()
    browser, thief = Browser(app), Browser(app)
    browser.log_in()
    token, session_id = browser.csrf_token(), browser.cookie() or ""
    state = world.directory / "state"
    state.rename(world.directory / "away")
    state.write_text("not a directory")
    answer = browser.call("POST", "/auth/logout", headers={"X-CSRF-Token": token})
    assert (answer.status_code, answer.json) == (200, {"logout_url": None})
    assert clears_cookies(answer)
    state.unlink()
    (world.directory / "away").rename(state)

    thief.client.set_cookie(SESSION_COOKIE, session_id, domain="localhost")
    assert not thief.is_logged_in()
    assert app.extensions["bff"].session_store.retry_unfinished_ends() == 1
    after_restart = Browser(world.build())
    after_restart.client.set_cookie(SESSION_COOKIE, session_id, domain="localhost")
    assert_refused(after_restart.get_session(), "session_expired", 401)


def test_o1_a_store_that_is_away_is_never_not_logged_in(world: World) -> None:
    browser = world.open_browser(session={"directory": str(world.directory / "state"), "local_cache_seconds": 0})
    browser.log_in()
    state = world.directory / "state"
    state.rename(world.directory / "away")
    state.write_text("not a directory")
    answer = browser.get_session()
    assert_refused(answer, "store_unavailable", 503)
    assert not answer.headers.getlist("Set-Cookie")
    assert_refused(browser.navigate("/auth/login"), "store_unavailable", 503)
    state.unlink()
    (world.directory / "away").rename(state)
    assert browser.is_logged_in()
