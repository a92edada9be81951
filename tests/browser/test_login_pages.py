"""Login and logout as a person meets them: several tabs, a change of mind, our own pages, small screens."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import Site, log_in, pass_provider, take_screenshot

pytestmark = [pytest.mark.live, pytest.mark.browser]


def test_logins_in_two_tabs_at_once_both_work(site: Site, context: BrowserContext) -> None:
    tabs = [context.new_page(), context.new_page()]
    for tab in tabs:
        tab.goto(f"{site.origin}/")
        tab.get_by_role("button", name="Log in").click()
        expect(tab.locator("input[name=login]")).to_be_visible()
    pass_provider(tabs[0], "alice")
    expect(tabs[0].locator("#user")).to_have_text("Alice")
    tabs[1].locator("input[name=login]").fill("alice")
    tabs[1].locator("input[name=password]").fill("any")
    tabs[1].get_by_role("button", name="Sign-in").click()
    expect(tabs[1].locator("#user")).to_have_text("Alice")
    assert tabs[1].evaluate("async () => (await fetch('/api/crud/forms')).status") == 200


def test_a_page_goes_on_after_a_login_in_another_tab(site: Site, context: BrowserContext) -> None:
    first, second = context.new_page(), context.new_page()
    log_in(first, site)
    expect(first.get_by_label("Title")).to_be_visible()  # the last of what it asks for by itself
    token_of_first = first.evaluate("async () => (await (await fetch('/api/auth/session')).json()).csrf_token")
    second.goto(f"{site.origin}/auth/login?return_to=/")
    expect(second.locator("#user")).to_have_text("Alice")
    token_of_second = second.evaluate("async () => (await (await fetch('/api/auth/session')).json()).csrf_token")
    assert token_of_first != token_of_second, "a login makes a new session"

    with first.expect_response(lambda answer: answer.headers.get("x-bff-error") == "csrf_failed"):
        first.get_by_label("Title").fill("Written in the first tab")
        first.get_by_role("button", name="Create").click()
    expect(first.locator("#forms")).to_contain_text("Written in the first tab")
    expect(first.locator("#error")).to_be_hidden()
    first.get_by_role("button", name="Delete Written in the first tab").click()
    expect(first.locator("#forms")).not_to_contain_text("Written in the first tab")

    second.goto(f"{site.origin}/auth/login?return_to=/")
    expect(second.locator("#user")).to_have_text("Alice")
    first.get_by_role("button", name="Log out").click()
    first.get_by_role("button", name="Yes, sign me out").click()
    expect(first.locator("#user")).to_have_text("not logged in")


def test_a_cancelled_login_shows_a_page_with_a_code_and_a_way_to_try_again(site: Site, page: Page) -> None:
    page.goto(f"{site.origin}/")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name="Cancel").click()
    page.wait_for_url(f"{site.origin}/auth/callback?**")
    expect(page.locator("body")).to_contain_text("login_failed")
    take_screenshot(page, "5-login-cancelled")
    page.get_by_role("link").or_(page.get_by_role("button")).first.click()
    expect(page.locator("input[name=login]")).to_be_visible()


def test_the_logout_page_ends_nothing_until_its_button_is_pressed(site: Site, page: Page) -> None:
    log_in(page, site)
    page.goto(f"{site.origin}/auth/logout")
    take_screenshot(page, "6-logout-page")
    page.goto(f"{site.origin}/")
    expect(page.locator("#user")).to_have_text("Alice")
    page.goto(f"{site.origin}/auth/logout")
    page.get_by_role("button").click()
    page.get_by_role("button", name="Yes, sign me out").click()
    page.wait_for_url(f"{site.origin}/**")
    expect(page.locator("body")).to_contain_text("You are logged out")
    page.get_by_role("link", name="To the start page").click()
    expect(page.locator("#user")).to_have_text("not logged in")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_small_screen_in_both_colour_schemes(site: Site, page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    log_in(page, site)
    page.get_by_label("Title").fill("A form with a rather long title that has to wrap somewhere on a telephone")
    page.get_by_role("button", name="Create").click()
    expect(page.locator("#forms li").first).to_contain_text("rather long title")
    page.set_viewport_size({"width": 360, "height": 800})
    take_screenshot(page, f"7-small-{scheme}")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.get_by_role("button", name="Delete A form with").first.click()
