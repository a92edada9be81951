"""`response_mode: form_post` in a browser: the provider is another site, so it is SameSite that has to be right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import pass_provider
from tests.support.bff import Bff, Stack, start_bff
from tests.support.processes import free_port

pytestmark = [pytest.mark.live, pytest.mark.browser]


@pytest.fixture
def bff(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bff]:
    port = free_port()
    started = start_bff(
        tmp_path_factory.mktemp("form-post"),
        issuer=stack.op.issuer,
        client=stack.op.register_client(f"http://localhost:{port}"),
        backend_url=stack.backend_url,
        port=port,
        workers=1,
        settings={"oidc": {"response_mode": "form_post"}},
    )
    yield started
    started.stop()


def test_a_login_comes_back_by_a_post_from_another_site(bff: Bff, page: Page) -> None:
    posts = []
    page.on("request", lambda request: posts.append((request.method, request.url)))
    page.goto(f"{bff.origin}/")
    page.get_by_role("button", name="Log in").click()
    pass_provider(page, "alice")
    expect(page.locator("#user")).to_have_text("Alice")
    assert ("POST", f"{bff.origin}/auth/callback") in posts
    assert not any("code=" in url for _, url in posts)


def test_a_login_that_fails_shows_a_page(bff: Bff, page: Page) -> None:
    page.goto(f"{bff.origin}/")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("link", name="Cancel").click()
    expect(page.locator("body")).to_contain_text("login_failed")
    assert page.url == f"{bff.origin}/auth/callback"
    page.get_by_role("link", name="Try again").click()
    expect(page.locator("input[name=login]")).to_be_visible()
