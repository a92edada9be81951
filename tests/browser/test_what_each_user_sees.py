"""Two users of the demo see different buttons, and exactly those that would work (real Cerbos, the demo's policies)."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import pass_provider, take_screenshot
from tests.support.demo import PROJECT, demo, ports
from tests.support.processes import Child

__all__ = ["demo", "ports"]

pytestmark = [pytest.mark.live, pytest.mark.browser]

BUTTONS = ("Create", "Edit", "Delete")
PEOPLE = ("bob", "carol", "alice")


def log_in(page: Page, origin: str, user: str) -> None:
    page.goto(f"{origin}/")
    page.get_by_role("button", name="Log in").click()
    pass_provider(page, user)
    expect(page.locator("#user")).to_have_text(user.capitalize())
    expect(page.locator("#forms li")).to_have_count(0 if user == "alice" else 1)


def sees(page: Page, button: str) -> str:
    name = button if button == "Create" else f"{button} The first"
    return "yes" if page.get_by_role("button", name=name, exact=True).is_visible() else "no"


def test_each_user_sees_the_buttons_that_the_documentation_says(
    demo: Child, ports: dict[str, int], chromium: Browser
) -> None:
    origin = f"http://localhost:{ports['DEMO_PORT']}"
    pages = {name: chromium.new_context(viewport={"width": 900, "height": 700}).new_page() for name in PEOPLE}
    log_in(pages["alice"], origin, "alice")
    expect(pages["alice"].get_by_role("button", name="Create")).to_be_visible()
    pages["alice"].get_by_label("Title").fill("The first")
    pages["alice"].get_by_role("button", name="Create").click()
    expect(pages["alice"].get_by_role("button", name="Delete The first")).to_be_visible()
    for name in ("bob", "carol"):
        log_in(pages[name], origin, name)
    expect(pages["carol"].get_by_role("button", name="Edit The first")).to_be_visible()
    expect(pages["bob"].locator("#only-reads")).to_be_visible()
    rows = [f"| `{button}` | {' | '.join(sees(pages[name], button) for name in PEOPLE)} |" for button in BUTTONS]
    table = "\n".join([f"| button | {' | '.join(PEOPLE)} |", "|---" * (1 + len(PEOPLE)) + "|", *rows])
    print(table)  # noqa: T201  for whoever changes the documentation
    for name in ("bob", "alice"):
        take_screenshot(pages[name], f"demo-as-{name}")
        pages[name].context.close()
    documented = (PROJECT / "docs" / "reference" / "spa-pdp-usage.md").read_text(encoding="utf-8")
    assert table in documented
    assert Path(demo.log_path).exists()
