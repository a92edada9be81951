"""The settings name another identity provider while sessions and logins of the one before are there (mix-up)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.login_world import SESSION_COOKIE, Browser, World, world
from tests.support.raw_backend import OK_ANSWER, RawBackend, answering_always

__all__ = ["world"]

pytestmark = pytest.mark.live


@pytest.fixture
def other_provider() -> Iterator[RawBackend]:
    """Records whatever it is shown."""
    with RawBackend(answering_always(OK_ANSWER)) as backend:
        yield backend


def change_provider(world: World, browser: Browser, other_provider: RawBackend) -> None:
    cookies = browser.client._cookies
    browser.client = world.build(oidc={"issuer": other_provider.url}).test_client()
    browser.client._cookies = cookies


def test_a_session_from_before_is_not_used_and_its_tokens_are_shown_to_nobody(
    world: World, other_provider: RawBackend
) -> None:
    browser = world.open_browser()
    browser.log_in()
    token = browser.csrf_token()
    change_provider(world, browser, other_provider)
    for path in ("/api/auth/session", "/api/me/sessions", "/api/crud/forms"):
        answer = browser.call("GET", path)
        assert (answer.status_code, answer.headers["X-BFF-Error"]) == (401, "session_expired"), path
    logged_out = browser.call("POST", "/auth/logout", headers={"X-CSRF-Token": token})
    assert (logged_out.status_code, logged_out.json) == (200, {"logout_url": None})
    assert other_provider.requests == []


def test_a_login_from_before_cannot_be_finished_and_its_code_is_shown_to_nobody(
    world: World, other_provider: RawBackend
) -> None:
    browser = world.open_browser()
    callback = browser.walk_to_callback()
    change_provider(world, browser, other_provider)
    refused = browser.navigate(callback, site="cross-site")
    assert (refused.status_code, refused.headers["X-BFF-Error"]) == (400, "login_state_invalid")
    assert browser.cookie(SESSION_COOKIE) is None
    assert other_provider.requests == []
