"""From login to logout no token, verifier or ID token reaches the browser: every byte it got or sent is searched.

What to look for is told by the provider: the very tokens it issued, not patterns. Two things do pass, and only there:
the code in the callback URL, and the `id_token_hint` in the one redirect of `/auth/logout/continue`, which no script
can read.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, Request, expect

from tests.browser.conftest import Site, log_in, take_screenshot
from tests.support.processes import wait_until

pytestmark = [pytest.mark.live, pytest.mark.browser]


@dataclass
class Trace:
    """What the browser itself tells about every request, to whatever host, and what it printed."""

    requests: list[Request] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    def watch(self, context: BrowserContext) -> None:
        context.on("request", self._keep_request)
        context.on("console", self._keep_message)

    def _keep_request(self, request: Request) -> None:
        self.requests.append(request)

    def _keep_message(self, message: ConsoleMessage) -> None:
        self.console.append(message.text)

    def texts(self) -> list[str]:
        """URL, headers and body of every request."""
        return [f"{request.url}\n{request.all_headers()}\n{request.post_data or ''}" for request in self.requests]


@pytest.fixture
def trace(context: BrowserContext) -> Trace:
    watching = Trace()
    watching.watch(context)
    return watching


def use_the_page(page: Page) -> None:
    """Create, edit and delete a form, upload, ask what the backend saw, with both kinds of token."""
    page.get_by_label("Title").fill("First form")
    page.get_by_role("button", name="Create").click()
    expect(page.locator("#forms li")).to_have_count(1)
    expect(page.locator("#feed")).to_contain_text("form.created")
    page.get_by_role("button", name="Edit First form").click()
    page.get_by_label("Title").fill("Renamed form")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#forms")).to_contain_text("Renamed form")
    page.locator("#file").set_input_files({"name": "a.bin", "mimeType": "application/x", "buffer": b"x" * 300_000})
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.locator("#upload-result")).to_contain_text("300000 bytes")
    page.get_by_role("button", name="with the service's token").click()
    expect(page.locator("#whoami")).to_contain_text("urn:test:api:crud")
    page.get_by_role("button", name="with the user's token").click()
    expect(page.locator("#whoami")).to_contain_text("opaque")
    with page.expect_download() as started:
        page.get_by_role("link", name="Download 8 MiB").click()
    assert started.value.path().stat().st_size == 8 * 1024 * 1024


def all_storage(page: Page, context: BrowserContext) -> str:
    """Everything that a script of the page could read, and the cookies it could not."""
    readable = page.evaluate(
        """() => JSON.stringify({
            cookie: document.cookie, local: {...localStorage}, session: {...sessionStorage},
            url: location.href, history: history.state, html: document.documentElement.outerHTML,
        })"""
    )
    return json.dumps({"readable": readable, "profile": context.storage_state()})


def log_out(page: Page, site: Site) -> None:
    page.get_by_role("button", name="Log out").click()
    page.get_by_role("button", name="Yes, sign me out").click()
    page.wait_for_url(f"{site.origin}/**")
    expect(page.locator("#user")).to_have_text("not logged in")


def test_from_login_to_logout_no_token_reaches_the_browser(
    site: Site, page: Page, context: BrowserContext, trace: Trace
) -> None:
    passed_before = set(site.op.secrets())

    def passed(*kinds: str) -> list[str]:
        return [value for value in site.op.secrets(*kinds) if value not in passed_before]

    logouts_before = len(site.op.events("end_session.success"))
    page.goto(f"{site.origin}/")
    expect(page.locator("#user")).to_have_text("not logged in")
    take_screenshot(page, "1-signed-out")
    page.get_by_role("button", name="Ask for the forms anyway").click()
    expect(page.locator("#error")).to_contain_text("X-BFF-Error: not_authenticated")
    take_screenshot(page, "2-not-authenticated")

    log_in(page, site)
    use_the_page(page)
    take_screenshot(page, "3-signed-in")
    stored = all_storage(page, context)
    page.get_by_role("button", name="Delete Renamed form").click()
    expect(page.locator("#forms")).not_to_contain_text("Renamed form")
    log_out(page, site)
    stored += all_storage(page, context)
    take_screenshot(page, "4-logged-out")
    wait_until(
        lambda: len(site.op.events("end_session.success")) > logouts_before,
        timeout_seconds=10,
        what="the end of the session at the provider",
    )

    # All of the provider's, also from before: the service's token may be an older one.
    forbidden = site.op.secrets("access_token", "refresh_token", "code_verifier", "client_assertion")
    id_tokens = passed("id_token")
    codes = passed("code")
    assert passed("access_token")
    assert len(site.op.secrets("access_token")) >= 2, "the user's and the service's"
    assert passed("refresh_token")
    assert passed("code_verifier")
    assert len(id_tokens) == len(codes) == 1
    received = site.wire.sent_to_browser().decode("latin-1")
    sent = site.wire.sent_by_browser().decode("latin-1")
    everything = "\n".join([received, sent, stored, *trace.texts(), *trace.console])

    assert "Renamed form" in everything, "the recording has the bodies"
    assert not re.search("(?im)^content-encoding:", received), "and can be searched as it is"
    assert [value[:6] for value in forbidden if value in everything] == []

    with_id_token = [line for line in received.splitlines() if id_tokens[0] in line]
    assert len(with_id_token) == 1
    assert re.match(r"(?i)location: http://127\.0\.0\.1:\d+/session/end\?", with_id_token[0])
    assert id_tokens[0] not in sent
    assert id_tokens[0] not in stored

    with_code = [line for line in [*received.splitlines(), *sent.splitlines()] if codes[0] in line]
    assert len(with_code) == 1
    callback = urlsplit(with_code[0].split()[1])
    assert callback.path == "/auth/callback"
    assert set(parse_qs(callback.query)) == {"code", "state", "iss"}
    assert codes[0] not in stored

    assert [message for message in trace.console if "Content Security Policy" in message] == []


def test_the_session_cookie_is_out_of_reach_and_says_nothing(site: Site, page: Page, context: BrowserContext) -> None:
    log_in(page, site)
    [line] = {line for line in site.wire.lines_to_browser("Set-Cookie") if line.startswith("bff_session=")}
    value, *attributes = line.removeprefix("bff_session=").split("; ")
    assert set(attributes) == {"HttpOnly", "Path=/", "SameSite=Strict"}
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", value), "256 random bits and nothing else"
    assert "bff_session" not in page.evaluate("document.cookie")
    assert [cookie["name"] for cookie in context.cookies() if cookie["name"].startswith("bff_login")] == []

    context.clear_cookies()
    log_in(page, site)
    assert value not in [cookie["value"] for cookie in context.cookies()], "a new one at every login"
