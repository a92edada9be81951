"""Two users of the demo see different buttons, and exactly those that would work (real Cerbos, the demo's policies)."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.application import expect_user
from tests.browser.conftest import pass_provider, take_screenshot
from tests.support.demo import PROJECT, demo, ports
from tests.support.processes import Child

__all__ = ["demo", "ports"]

pytestmark = [pytest.mark.live, pytest.mark.browser]

BUTTONS = ("New form", "Save", "Delete")
PEOPLE = ("bob", "carol", "alice")


def log_in(page: Page, origin: str, user: str) -> None:
    page.goto(f"{origin}/forms")
    pass_provider(page, user)
    page.wait_for_url(f"{origin}/forms")
    expect_user(page, user)


def list_buttons(page: Page, origin: str) -> dict[str, str]:
    """Which buttons there are in the list and on the page of the one form."""
    page.goto(f"{origin}/forms")
    expect(page.get_by_role("link", name="The first")).to_be_visible()
    page.wait_for_load_state("networkidle")
    seen = {
        "New form": page.get_by_role("link", name="New form").is_visible(),
        "Delete": page.get_by_role("button", name="Delete The first", exact=True).is_visible(),
    }
    page.get_by_role("link", name="The first").click()
    expect(page.get_by_role("heading", name="The first")).to_be_visible()
    seen["Save"] = page.get_by_role("button", name="Save").is_visible()
    return {button: "yes" if is_visible else "no" for button, is_visible in seen.items()}


def test_each_user_sees_the_buttons_that_the_documentation_says(
    demo: Child, ports: dict[str, int], chromium: Browser
) -> None:
    origin = f"http://localhost:{ports['DEMO_PORT']}"
    pages = {name: chromium.new_context(viewport={"width": 900, "height": 700}).new_page() for name in PEOPLE}
    log_in(pages["alice"], origin, "alice")
    pages["alice"].goto(f"{origin}/forms/new")
    pages["alice"].get_by_label("Title").fill("The first")
    pages["alice"].get_by_role("button", name="Save").click()
    expect(pages["alice"].get_by_role("link", name="The first")).to_be_visible()
    for name in ("bob", "carol"):
        log_in(pages[name], origin, name)
    seen = {name: list_buttons(pages[name], origin) for name in PEOPLE}
    rows = [f"| `{button}` | {' | '.join(seen[name][button] for name in PEOPLE)} |" for button in BUTTONS]
    table = "\n".join([f"| button | {' | '.join(PEOPLE)} |", "|---" * (1 + len(PEOPLE)) + "|", *rows])
    print(table)  # noqa: T201  for whoever changes the documentation
    for name in ("bob", "alice"):
        take_screenshot(pages[name], f"demo-as-{name}")
        pages[name].context.close()
    documented = (PROJECT / "docs" / "reference" / "spa-pdp-usage.md").read_text(encoding="utf-8")
    assert table in documented
    assert Path(demo.log_path).exists()
