"""The pages before and after a logout."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.integration.login_world import NAVIGATION, ORIGIN, World, world

__all__ = ["world"]

pytestmark = pytest.mark.live


def test_the_logout_page_has_one_button_and_a_policy_that_lets_its_form_go_on(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    page = browser.navigate("/auth/logout")
    assert page.text.count("<button") == 1
    assert '<form method="post" action="/auth/logout">' in page.text
    assert "form-action" not in page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert page.headers["Referrer-Policy"] == "same-origin"
    assert 'name="referrer"' not in page.text
    assert "<script" not in page.text


def test_the_logout_page_without_a_session_offers_a_login(world: World) -> None:
    page = world.open_browser().navigate("/auth/logout")
    assert page.status_code == 200
    assert "<form" not in page.text
    assert 'href="/auth/login"' in page.text


def test_a_link_on_another_site_still_leads_to_the_button(world: World) -> None:
    """The Strict cookie is not sent with such a link; one step from our own page later it is."""
    browser = world.open_browser()
    browser.log_in()
    bare = browser.app.test_client(use_cookies=False)
    page = bare.get("/auth/logout", base_url=ORIGIN, headers={**NAVIGATION, "Sec-Fetch-Site": "cross-site"})
    assert '<meta http-equiv="refresh" content="0; url=/auth/logout">' in page.text
    assert "<button" in browser.navigate("/auth/logout", site="same-origin").text


def test_h12_a_return_address_is_escaped_in_the_form(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    page = browser.navigate("/auth/logout?return_to=" + quote("/a'b&c=d", safe=""))
    assert 'name="return_to" value="/a&#39;b&amp;c=d"' in page.text


def test_the_page_after_a_logout_says_logged_out_only_to_those_who_are(world: World) -> None:
    browser = world.open_browser()
    browser.log_in()
    page = browser.navigate("/auth/logged-out")
    assert "You are logged in" in page.text
    assert 'href="/auth/logout"' in page.text
    assert "has ended" not in page.text
    assert browser.is_logged_in(), "it only tells"
    browser.log_out()
    assert "You are logged out" in browser.navigate("/auth/logged-out").text
    assert "You are logged out" in world.open_browser().navigate("/auth/logged-out").text
