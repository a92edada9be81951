"""The demo's application in a real browser, through the real Traefik and two BFFs: all that a user does, and what the
browser holds meanwhile. The parts are those of `make demo-traefik`, which the last test ends."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.application import (
    Trace,
    check_accessibility,
    create_form,
    expect_user,
    log_in,
    log_out,
    look_at,
    open_copy,
)
from tests.browser.conftest import ARGUMENTS, pass_provider
from tests.browser.topology import Topology, topology
from tests.support.demo import PROJECT, descendants_of, is_running
from tests.support.processes import is_answering, minimal_environment, running, wait_until
from tests.support.recording_proxy import RecordingProxy

__all__ = ["topology"]

pytestmark = [pytest.mark.live, pytest.mark.browser]

CALL_API = "async () => (await fetch('/api/crud/forms')).status"
FETCH_PAGE = "async () => (await fetch('/', {cache: 'no-store'})).status"


@pytest.fixture(scope="module")
def alice(topology: Topology, chromium: Browser) -> Iterator[Page]:
    """A page of hers, logged in once for all tests that leave her logged in."""
    context = chromium.new_context(accept_downloads=True)
    page = context.new_page()
    log_in(page, topology.origin)
    yield page
    context.close()


@pytest.fixture
def wire(topology: Topology) -> Iterator[RecordingProxy]:
    with RecordingProxy(topology.port) as proxy:
        yield proxy


@pytest.fixture
def recorded_page(topology: Topology, wire: RecordingProxy, chromium: Browser) -> Iterator[Page]:
    """A page of a browser whose every byte to and from the edge is kept."""
    rule = f"--host-resolver-rules=MAP localhost:{topology.port} 127.0.0.1:{wire.port}"
    browser = chromium.browser_type.launch(executable_path=shutil.which("chromium"), args=[*ARGUMENTS, rule])
    yield browser.new_context(accept_downloads=True, extra_http_headers={"Accept-Encoding": "identity"}).new_page()
    browser.close()


def test_a_user_works_and_no_token_reaches_the_browser(
    topology: Topology, wire: RecordingProxy, recorded_page: Page
) -> None:
    page, trace = recorded_page, Trace()
    context = page.context
    trace.watch(context)
    page.goto(f"{topology.origin}/forms")
    pass_provider(page, "alice")
    page.wait_for_url(f"{topology.origin}/forms")

    create_form(page, "A walk through")
    page.get_by_role("link", name="A walk through").click()
    page.get_by_label("Title").fill("A walk, edited")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("link", name="A walk, edited")).to_be_visible()
    expect(page.get_by_role("region", name="Notes")).to_contain_text("A walk, edited is saved.")

    page.get_by_role("link", name="Files").click()
    page.get_by_label("File").set_input_files(
        {"name": "a.bin", "mimeType": "application/octet-stream", "buffer": b"x" * 300_000}
    )
    page.get_by_role("button", name="Upload", exact=True).click()
    expect(page.get_by_text("300000 bytes arrived.")).to_be_visible()
    with page.expect_download() as started:
        page.get_by_role("link", name="Download 8 MiB").click()
    downloaded = started.value.path().read_bytes()
    assert len(downloaded) == 8 * 1024 * 1024

    page.get_by_role("link", name="Live feed").click()
    expect(page.get_by_text("open", exact=True)).to_be_visible()
    page.get_by_role("button", name="Greet everybody").click()
    expect(page.get_by_role("list", name="Events")).to_contain_text("Hello, everybody")

    second = context.new_page()
    second.goto(f"{topology.origin}/forms")
    second.get_by_role("button", name="Delete A walk, edited").click()
    expect(page.get_by_role("list", name="Events")).to_contain_text("form.deleted")

    cookies = {cookie["name"]: cookie for cookie in context.cookies(topology.origin)}
    assert set(cookies) == {"bff_session", "bff_csrf"}, "plain http; over https the names have their prefixes"

    received = wire.sent_to_browser()
    everything = "\n".join([received.decode("latin-1"), wire.sent_by_browser().decode("latin-1"), trace.tell(context)])
    assert "A walk, edited" in everything, "bodies are in what is searched,"
    assert "data: {" in everything, "events,"
    assert downloaded[:64].decode("latin-1") in everything, "downloads"
    assert "createRoot" in everything or "react" in everything, "and scripts"
    assert b"\ncontent-encoding:" not in received.lower(), "as they are"
    kinds = ("access_token", "refresh_token", "id_token", "code_verifier", "client_assertion")
    passed = topology.op.secrets(*kinds)
    assert len(passed) >= 4
    assert [secret[:6] for secret in passed if secret in everything] == []

    log_out(second, topology.origin)
    expect(page.get_by_text("not logged in")).to_be_visible()
    expect(page.get_by_role("list", name="Events")).to_have_count(0)
    # Behind the call, whose answer the page could not give any more. The page in between leads forward again by itself,
    # sooner or later.
    second.evaluate("() => { setTimeout(() => history.go(-2)) }")
    # No private page comes back: the application asks who is there, and leads to the login.
    expect(second.locator("input[name=login]")).to_be_visible()
    assert trace.find_complaints() == []


def test_who_may_not_sees_no_button_and_a_page_that_says_so(topology: Topology, alice: Page, chromium: Browser) -> None:
    create_form(alice, "Of alice")
    bob = chromium.new_context().new_page()
    log_in(bob, topology.origin, "bob")
    expect(bob.get_by_role("link", name="Of alice")).to_be_visible()
    expect(bob.get_by_text("You may read forms.")).to_be_visible()
    expect(bob.get_by_role("button", name="Delete")).to_have_count(0)
    expect(bob.get_by_role("link", name="New form")).to_have_count(0)
    bob.get_by_role("link", name="Of alice").click()
    expect(bob.get_by_text("You may read it.")).to_be_visible()
    expect(bob.get_by_role("button", name="Save")).to_have_count(0)
    bob.goto(f"{topology.origin}/forms/new")
    expect(bob.get_by_role("heading", name="You may not do this")).to_be_visible()
    look_at(bob, "denied")
    called = bob.evaluate(
        """async () => {
             const { csrf_token } = await (await fetch('/api/auth/session')).json();
             const headers = {'Content-Type': 'application/json', 'X-CSRF-Token': csrf_token};
             const answer = await fetch('/api/crud/forms', {method: 'POST', headers, body: '{"title": "x"}'});
             return [answer.status, answer.headers.get('X-BFF-Error')]; }"""
    )
    assert called == [403, "access_denied"], "past the page too"
    bob.context.close()


def test_a_session_that_ended_comes_back_to_its_page_without_a_password(
    topology: Topology, alice: Page, chromium: Browser
) -> None:
    page = open_copy(chromium, alice)
    [before] = [cookie for cookie in page.context.cookies(topology.origin) if cookie["name"] == "bff_session"]
    page.context.clear_cookies(name="bff_session")
    page.goto(f"{topology.origin}/sessions?tab=all#here")
    expect(page.get_by_text("This browser")).to_be_visible()
    assert page.url == f"{topology.origin}/sessions?tab=all#here"
    [after] = [cookie for cookie in page.context.cookies(topology.origin) if cookie["name"] == "bff_session"]
    assert after["value"] != before["value"]
    page.context.close()


def test_another_browser_can_be_logged_out_from_here(topology: Topology, chromium: Browser) -> None:
    there = chromium.new_context().new_page()
    log_in(there, topology.origin, "carol")
    here = open_copy(chromium, there)
    here.context.clear_cookies(name="bff_session")
    here.goto(f"{topology.origin}/sessions")
    here.get_by_role("button", name="End the session of").click()
    expect(here.get_by_role("button", name="End the session of")).to_have_count(0)
    expect(here.get_by_role("button", name="End this session")).to_be_visible()
    assert there.evaluate(CALL_API) == 401
    for someone in (here, there):
        someone.context.close()


def test_a_login_begun_on_one_instance_ends_on_the_other(topology: Topology, alice: Page) -> None:
    for _ in range(8):
        alice.goto(f"{topology.origin}/auth/login?return_to=/files")
        alice.wait_for_url(f"{topology.origin}/files")
        expect_user(alice)
        if topology.find_instance("/auth/login") != topology.find_instance("/auth/callback"):
            return
    pytest.fail("The edge sent every login to one instance only.")


def test_every_page_is_accessible_and_fits_a_telephone(topology: Topology, alice: Page, chromium: Browser) -> None:
    stranger = chromium.new_context().new_page()
    stranger.goto(f"{topology.origin}/")
    expect(stranger.get_by_text("not logged in")).to_be_visible()
    look_at(stranger, "start")
    stranger.context.close()

    page = open_copy(chromium, alice)
    page.goto(f"{topology.origin}/nowhere")
    expect_user(page)
    look_at(page, "not-found")
    create_form(page, "A form with a rather long title that has to wrap somewhere on a telephone")
    expect(page.get_by_role("button", name="Delete A form with")).to_be_visible()
    look_at(page, "forms")
    page.get_by_role("link", name="New form").click()
    expect(page.get_by_label("Title")).to_be_visible()
    look_at(page, "form")
    page.get_by_role("link", name="Live feed").click()
    expect(page.get_by_text("open", exact=True)).to_be_visible()
    page.get_by_role("button", name="Greet everybody").click()
    expect(page.get_by_role("list", name="Events")).to_contain_text("Hello, everybody")
    look_at(page, "feed")
    page.get_by_role("link", name="Files").click()
    expect(page.get_by_label("File")).to_be_visible()
    look_at(page, "files")
    page.get_by_role("link", name="Sessions").click()
    expect(page.get_by_text("This browser")).to_be_visible()
    look_at(page, "sessions")
    page.get_by_role("link", name="BFF demo").click()
    page.get_by_role("button", name="With the user’s token").click()
    expect(page.get_by_text("Bearer")).to_be_visible()
    look_at(page, "home")
    page.get_by_role("button", name="Alice", exact=True).click()
    check_accessibility(page)
    page.context.close()


def test_the_development_server_works_across_origins(topology: Topology, alice: Page, chromium: Browser) -> None:
    """`npm run dev`: the application on an origin of its own, the BFF's address in its settings."""
    page, trace = open_copy(chromium, alice), Trace()
    trace.watch(page.context)
    with running(
        "npm run dev",
        ["npm", "run", "dev", "--", "--port", str(topology.development_port)],
        log_path=topology.logs / "vite.log",
        ready=lambda _: is_answering(f"{topology.development_origin}/", status=200),
        environment=minimal_environment(VITE_BFF_BASE_URL=f"{topology.origin}/api"),
        directory=PROJECT / "frontend" / "apps" / "demo",
    ):
        page.context.clear_cookies(name="bff_session")
        page.goto(f"{topology.development_origin}/forms")
        # The guard led to the login at the BFF, and the login back to the development server.
        expect_user(page)
        assert page.url == f"{topology.development_origin}/forms"
        create_form(page, "From the development server")
        page.get_by_role("link", name="Live feed").click()
        expect(page.get_by_text("open", exact=True)).to_be_visible()
        calls = [request.url for request in trace.requests if "/api/" in request.url]
        assert calls
        assert all(call.startswith(f"{topology.origin}/api/") and "/api/api/" not in call for call in calls)
        page.context.close()


def test_the_second_host_is_open_to_who_is_logged_in(topology: Topology, alice: Page, chromium: Browser) -> None:
    tools = f"http://tools.localhost:{topology.port}/whoami"
    page = open_copy(chromium, alice)
    page.goto(tools)
    page.wait_for_url(tools)
    expect(page.locator("body")).to_contain_text("auth:account:demo:alice")
    page.context.close()


def test_one_instance_may_be_killed_in_the_middle(topology: Topology, alice: Page) -> None:
    alice.goto(f"{topology.origin}/forms")
    create_form(alice, "Before the end of one")
    topology.kill_one_bff()
    wait_until(
        # The edge keeps a list of who is alive for each of the two.
        lambda: all(alice.evaluate(what) == 200 for what in (CALL_API, FETCH_PAGE) * 4),
        timeout_seconds=20,
        what="the edge to leave the dead instance alone",
    )
    alice.reload()
    expect(alice.get_by_role("link", name="Before the end of one")).to_be_visible()
    create_form(alice, "After the end of one")
    expect_user(alice)
    assert topology.demo.is_running(), "a BFF may end; the demo goes on"


def test_ctrl_c_leaves_no_process_behind(topology: Topology) -> None:
    started = descendants_of(topology.demo.pid)
    assert len(started) >= 7, (
        "a provider, a decision point, a backend with a worker, Redis, a BFF with a worker, Traefik"
    )
    os.kill(topology.demo.pid, signal.SIGINT)
    wait_until(lambda: not topology.demo.is_running(), timeout_seconds=30, what="the end of the demo")
    assert topology.demo.popen.returncode == 0
    assert "The demo has stopped." in topology.demo.read_log()
    wait_until(lambda: not any(map(is_running, started)), timeout_seconds=10, what="the end of all it started")
