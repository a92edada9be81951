"""The demo's application over TLS, as production has it, with sessions and access tokens that live for seconds: names
and flags of the cookies, a session that ends while somebody looks at it, and renewals that nobody notices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, expect

from demo.edge import Edge
from demo.run import EDITORS, FRONTEND
from tests.browser.application import expect_user, log_in
from tests.browser.conftest import take_screenshot
from tests.support.bff import start_bff, start_crud_service
from tests.support.processes import free_port, wait_until
from tests.support.real_op import RealOp, start_op
from tests.support.traefik import make_certificate, start_traefik

pytestmark = [pytest.mark.live, pytest.mark.browser]

IDLE_SECONDS = 12
ACCESS_TOKEN_SECONDS = 3
CALL_API = "async () => (await fetch('/api/profile/whoami')).status"


@dataclass(frozen=True, slots=True)
class SecureSite:
    origin: str
    op: RealOp


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureSite]:
    directory = tmp_path_factory.mktemp("tls")
    port = free_port()
    with ExitStack() as parts:
        op = start_op(directory, OP_EDITORS=" ".join(EDITORS), OP_TTL_AT=str(ACCESS_TOKEN_SECONDS))
        parts.callback(op.stop)
        crud, backend_url = start_crud_service(directory)
        parts.callback(crud.stop)
        origin = f"https://localhost:{port}"
        bff = start_bff(
            directory / "bff",
            issuer=op.issuer,
            client=op.register_client(origin),
            backend_url=backend_url,
            workers=1,
            settings={
                "server": {"public_url": origin, "trusted_proxies": ["127.0.0.1/32"]},
                "session": {"idle_timeout_seconds": IDLE_SECONDS, "touch_interval_seconds": 1},
                "tokens": {"refresh_ahead_seconds": 1},
                "frontends": [{"host": "localhost", "directory": str(FRONTEND)}],
            },
        )
        parts.callback(bff.stop)
        url = f"http://127.0.0.1:{bff.port}"
        edge = Edge(
            port=port,
            internal_port=free_port(),
            bff_url=url,
            spa_url=url,
            tools_url=backend_url,
            certificate=make_certificate(directory),
        )
        parts.callback(start_traefik(directory / "traefik", edge).stop)
        yield SecureSite(origin, op)


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(ignore_https_errors=True)
    yield context.new_page()
    context.close()


def test_cookies_have_the_names_and_flags_that_browsers_hold_them_to(site: SecureSite, page: Page) -> None:
    log_in(page, site.origin)
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies(site.origin)}
    assert set(cookies) == {"__Host-Http-bff_session", "bff_csrf"}
    session, csrf = cookies["__Host-Http-bff_session"], cookies["bff_csrf"]
    for cookie in (session, csrf):
        assert (cookie["secure"], cookie["path"], cookie["domain"]) == (True, "/", "localhost")
        assert (cookie["expires"], cookie["sameSite"]) == (-1, "Strict")
    assert session["httpOnly"]
    assert not csrf["httpOnly"], "a page reads it and sends it as a header"
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", session["value"]), "256 random bits and nothing else"
    assert "bff_session" not in page.evaluate("document.cookie")

    page.evaluate("document.cookie = '__Host-Http-bff_session=attacker; Secure; Path=/'")
    [after] = [cookie for cookie in page.context.cookies(site.origin) if "bff_session" in cookie["name"]]
    assert after["value"] == session["value"], "no script puts another one in its place"


def test_an_access_token_is_renewed_while_calls_go_on(site: SecureSite, page: Page) -> None:
    log_in(page, site.origin)
    navigations: list[str] = []
    page.on("framenavigated", lambda frame: navigations.append(frame.url))

    def count_renewals() -> int:
        return len([event for event in site.op.events("grant.success") if event["grant_type"] == "refresh_token"])

    before = count_renewals()
    statuses = []

    def call_until_renewed_twice() -> bool:
        statuses.append(page.evaluate(CALL_API))
        return count_renewals() >= before + 2

    wait_until(call_until_renewed_twice, timeout_seconds=20, what="two renewals")
    assert set(statuses) == {200}
    assert navigations == [], "the page noticed nothing"


def test_a_session_left_alone_warns_then_ends_and_the_login_comes_back_to_the_page(
    site: SecureSite, page: Page
) -> None:
    log_in(page, site.origin)
    page.get_by_role("link", name="Sessions").click()
    dialog = page.get_by_role("alertdialog", name="Are you still there?")
    expect(dialog).to_be_visible()
    with page.expect_response(lambda answer: answer.url.endswith("/api/auth/session/refresh")) as renewed:
        page.get_by_role("button", name="Stay logged in").click()
    assert renewed.value.status == 200
    expect(dialog).to_be_hidden()

    page.context.clear_cookies(domain="127.0.0.1")  # the provider has forgotten her too
    expect(dialog).to_be_visible()
    take_screenshot(page, "spa-expiry")
    page.wait_for_url(re.compile(r"http://127\.0\.0\.1:.*"))
    expect(page.locator("input[name=login]")).to_be_visible()
    page.locator("input[name=login]").fill("alice")
    page.locator("input[name=password]").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()
    page.wait_for_url(f"{site.origin}/sessions")
    expect_user(page)
