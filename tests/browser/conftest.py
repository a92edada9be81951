"""Debian's Chromium, driven by Playwright, in front of the whole product."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.support.authzen_pdp import AuthzenPdp
from tests.support.bff import Bff, Stack, start_bff
from tests.support.processes import free_port
from tests.support.real_op import RealOp
from tests.support.recording_proxy import RecordingProxy

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SCREENSHOTS = Path(__file__).parents[2] / "build" / "screenshots"
FRONTEND_PORT = free_port()
FRONTEND_ORIGIN = f"http://localhost:{FRONTEND_PORT}"
"""Where a developer's own server would stand: another origin, the same site, named in `cors.allow_origins`."""

expect.set_options(timeout=15_000)


@dataclass(frozen=True, slots=True)
class Site:
    """The product as a browser reaches it: through a recording of every byte."""

    bff: Bff
    op: RealOp
    wire: RecordingProxy

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.wire.port}"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    executable = shutil.which("chromium")
    if executable is None:
        pytest.fail("Chromium is missing: `make setup` installs it or says how.", pytrace=False)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture(scope="package")
def bff_behind_the_wire(
    stack_process: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Bff, RecordingProxy]]:
    directory = tmp_path_factory.mktemp("browser")
    with RecordingProxy() as wire, AuthzenPdp() as pdp:
        (directory / "config").mkdir()
        (directory / "config" / "pdp.yaml").write_text(json.dumps({"connection": {"base_url": pdp.url}}))
        origin = f"http://localhost:{wire.port}"
        bff = start_bff(
            directory,
            issuer=stack_process.op.issuer,
            client=stack_process.op.register_client(origin),
            backend_url=stack_process.backend_url,
            workers=2,
            settings={"server": {"public_url": origin}, "cors": {"allow_origins": [FRONTEND_ORIGIN]}},
        )
        wire.target_port = bff.port
        try:
            yield bff, wire
        finally:
            bff.stop()


@pytest.fixture
def site(stack: Stack, bff_behind_the_wire: tuple[Bff, RecordingProxy]) -> Site:
    bff, wire = bff_behind_the_wire
    wire.forget()
    return Site(bff, stack.op, wire)


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A browser profile of its own, with nothing in it."""
    opened = chromium.new_context()
    yield opened
    opened.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def log_in(page: Page, site: Site, user: str = "alice") -> None:
    """From the demo's page through the provider's pages and back, as a person does it."""
    page.goto(f"{site.origin}/")
    page.get_by_role("button", name="Log in").click()
    pass_provider(page, user)
    expect(page.locator("#user")).to_have_text(user.capitalize())


def pass_provider(page: Page, user: str) -> None:
    page.locator("input[name=login]").fill(user)
    page.locator("input[name=password]").fill("any")
    page.get_by_role("button", name="Sign-in").click()
    page.get_by_role("button", name="Continue").click()


def take_screenshot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
