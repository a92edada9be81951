"""How tests use the demo's application in a browser, and how they look at it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, Request, expect

from tests.browser.conftest import pass_provider, take_screenshot

AXE = Path(__file__).parents[2] / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
TELL_VIOLATIONS = """async () => (await axe.run(document, { resultTypes: ['violations'] })).violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`)"""
LOOKS = (("light", 1100), ("dark", 360))
"""A desk by day and a telephone by night: each size and each scheme once for every page."""


def log_in(page: Page, origin: str, user: str = "alice") -> None:
    page.goto(f"{origin}/")
    page.get_by_role("button", name="Log in", exact=True).click()
    pass_provider(page, user)
    page.wait_for_url(f"{origin}/forms")
    expect_user(page, user)


def log_out(page: Page, origin: str, user: str = "alice") -> None:
    page.get_by_role("button", name=user.capitalize(), exact=True).click()
    page.get_by_role("menuitem", name="Log out").click()
    page.get_by_role("button", name="Yes, sign me out").click()
    page.wait_for_url(f"{origin}/")


def expect_user(page: Page, user: str = "alice") -> None:
    expect(page.get_by_role("button", name=user.capitalize(), exact=True)).to_be_visible()


def create_form(page: Page, title: str) -> None:
    """From the list of forms and back to it."""
    page.get_by_role("link", name="Forms", exact=True).click()
    page.get_by_role("link", name="New form").click()
    page.get_by_label("Title").fill(title)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name=title)).to_be_visible()


def open_copy(chromium: Browser, page: Page) -> Page:
    """A page in another profile with the same cookies: what somebody saves who need not log in once more."""
    state = page.context.storage_state()
    return chromium.new_context(storage_state=state, accept_downloads=True).new_page()


@dataclass
class Trace:
    """All requests of a browser, to whatever host, and all it printed and keeps."""

    requests: list[Request] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    def watch(self, context: BrowserContext) -> None:
        context.on("request", lambda request: self.requests.append(request))
        context.on("console", lambda message: self.console.append(message.text))
        context.on("weberror", lambda error: self.console.append(f"Uncaught {error.error}"))

    def tell(self, context: BrowserContext) -> str:
        told = [f"{request.url} {request.all_headers()} {request.post_data or ''}" for request in self.requests]
        told += [json.dumps(context.storage_state(indexed_db=True)), *self.console]
        told += [page.evaluate("JSON.stringify([{...sessionStorage}, {...localStorage}])") for page in context.pages]
        return "\n".join(told)

    def find_complaints(self) -> list[str]:
        """What broke the Content-Security-Policy, and errors that nobody caught."""
        return [line for line in self.console if "Content Security Policy" in line or "Uncaught" in line]


def check_accessibility(page: Page) -> None:
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    assert page.evaluate(TELL_VIOLATIONS) == []


def look_at(page: Page, name: str) -> None:
    """Accessible, nothing sticks out, and a picture to look at: in every look."""
    for scheme, width in LOOKS:
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
        page.set_viewport_size({"width": width, "height": 760})
        page.evaluate("window.scrollTo(0, 0)")
        take_screenshot(page, f"spa-{name}-{scheme}-{width}")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), f"{name} at {width}"
        check_accessibility(page)
