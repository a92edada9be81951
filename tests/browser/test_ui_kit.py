"""The UI kit as eyes, keyboards and screen readers meet it: its showcase in Chromium, light, dark and narrow."""

from __future__ import annotations

import functools
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import SCREENSHOTS

pytestmark = [pytest.mark.live, pytest.mark.browser]

FRONTEND = Path(__file__).parents[2] / "frontend"
AXE = FRONTEND / "node_modules" / "axe-core" / "axe.min.js"
THEMES = ("light", "dark")
TELL_VIOLATIONS = """async () => (await axe.run()).violations.map(
    ({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html).join(' ')}`)"""


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as it is called in the standard library
        pass


@pytest.fixture(scope="module")
def showcase() -> Iterator[str]:
    """Builds the showcase and serves it; returns its address."""
    subprocess.run(["npm", "run", "--silent", "showcase:build", "-w", "packages/ui"], cwd=FRONTEND, check=True)
    handler = functools.partial(QuietHandler, directory=FRONTEND / "packages" / "ui" / "showcase" / "dist")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(params=[("light", 1280), ("dark", 360)], ids=lambda param: f"{param[0]}-{param[1]}")
def showcase_page(request: pytest.FixtureRequest, chromium: Browser, showcase: str) -> Iterator[Page]:
    theme, width = request.param
    context = chromium.new_context(
        viewport={"width": width, "height": 800}, color_scheme=theme, reduced_motion="reduce"
    )
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(showcase)
    expect(page.get_by_role("heading", name="Forms", exact=True)).to_be_visible()
    yield page
    context.close()
    assert problems == []


def find_violations(page: Page) -> list[str]:
    page.add_script_tag(path=AXE)
    violations: list[str] = page.evaluate(TELL_VIOLATIONS)
    return violations


def keep_screenshot(page: Page, name: str) -> None:
    size = page.viewport_size
    assert size is not None
    scheme = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"ui-{name}-{scheme}-{size['width']}.png", full_page=name == "showcase")


EVERY_LOOK = [(theme, width) for theme in THEMES for width in (1280, 360)]


@pytest.mark.parametrize("showcase_page", EVERY_LOOK, indirect=True, ids=lambda look: f"{look[0]}-{look[1]}")
def test_axe_finds_nothing_wrong_and_nothing_sticks_out(showcase_page: Page) -> None:
    keep_screenshot(showcase_page, "showcase")
    assert find_violations(showcase_page) == []
    assert showcase_page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_an_open_menu_is_usable_by_keyboard_alone(showcase_page: Page) -> None:
    button = showcase_page.get_by_role("button", name="Alice Arden")
    button.focus()
    showcase_page.keyboard.press("ArrowDown")
    expect(showcase_page.get_by_role("menuitem", name="My sessions")).to_be_focused()
    keep_screenshot(showcase_page, "menu")
    assert find_violations(showcase_page) == []
    showcase_page.keyboard.press("End")
    expect(showcase_page.get_by_role("menuitem", name="Log out")).to_be_focused()
    showcase_page.keyboard.press("Escape")
    expect(button).to_be_focused()
    expect(showcase_page.get_by_role("menu")).to_have_count(0)


def test_the_expiry_dialog_holds_the_focus_and_gives_it_back(showcase_page: Page) -> None:
    opener = showcase_page.get_by_role("button", name="Session about to expire")
    opener.click()
    dialog = showcase_page.get_by_role("alertdialog", name="Are you still there?")
    expect(dialog).to_be_visible()
    keep_screenshot(showcase_page, "dialog")
    assert find_violations(showcase_page) == []
    showcase_page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(opener).to_be_focused()


def test_notes_are_readable_and_an_error_stays(showcase_page: Page) -> None:
    showcase_page.get_by_role("button", name="Show a success").click()
    showcase_page.get_by_role("button", name="Show an error").click()
    expect(showcase_page.get_by_role("region", name="Notes").get_by_role("alert")).to_be_visible()
    keep_screenshot(showcase_page, "notes")
    assert find_violations(showcase_page) == []
